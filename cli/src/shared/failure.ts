/** Failures as a user sees them: what went wrong, what to do about it, and the exit code. */

import { stripVTControlCharacters } from "node:util"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as PlatformError from "@effect/platform/Error"
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { TransportError } from "effect-transport"
import * as Hint from "./hint.js"
import { oneLine } from "./text.js"

/** A failure of this program, with what to do about it. */
export class Failure extends Schema.TaggedError<Failure>("effect-transport-cli/Failure")("Failure", {
  message: Schema.String,
  /** What to do, in the imperative. */
  hint: Schema.optional(Schema.String),
  /** Default 1. */
  exitCode: Schema.optional(Schema.Number),
  /** Whether all has been said already, and only the exit code is left. */
  silent: Schema.optional(Schema.Boolean),
  cause: Schema.optional(Schema.Defect)
}) {}

/** Exit codes; calls have 64 + their gRPC status, as grpcurl has. */
export const exitCodes = { failed: 1, usage: 2, handshake: 3, status: 64, interrupted: 130 } as const

/** What the user is told. */
export interface Explanation {
  readonly tag: string
  readonly message: string
  readonly hint: string | undefined
  readonly exitCode: number
  readonly silent?: boolean
}

const ofValidation = (error: ValidationError.ValidationError): Explanation => ({
  tag: "Usage",
  message: oneLine(stripVTControlCharacters(HelpDoc.toAnsiText(error.error))),
  hint: "--help shows the options of each command",
  exitCode: exitCodes.usage
})

/** Explains any error that a command may fail with. */
export const explain = (error: unknown): Explanation => {
  if (error instanceof Failure) {
    return {
      tag: error._tag,
      message: error.message,
      hint: error.hint,
      exitCode: error.exitCode ?? exitCodes.failed,
      silent: error.silent ?? false
    }
  }
  if (ValidationError.isValidationError(error)) {
    return ofValidation(error)
  }
  if (TransportError.isStatusError(error)) {
    return {
      tag: error._tag,
      message: error.message,
      hint: Hint.ofStatus(error),
      exitCode: exitCodes.status + error.code
    }
  }
  if (error instanceof TransportError.HandshakeFailed) {
    return { tag: error._tag, message: error.message, hint: Hint.ofHandshake(error), exitCode: exitCodes.handshake }
  }
  if (error instanceof TransportError.CredentialsError) {
    return { tag: error._tag, message: error.message, hint: Hint.ofCredentials(error), exitCode: exitCodes.failed }
  }
  if (error instanceof TransportError.BindError) {
    return { tag: error._tag, message: error.message, hint: Hint.ofBind(error), exitCode: exitCodes.failed }
  }
  if (error instanceof TransportError.MissingPackage) {
    return { tag: error._tag, message: error.message, hint: Hint.ofPackage(error), exitCode: exitCodes.failed }
  }
  if (PlatformError.isPlatformError(error)) {
    return { tag: error._tag, message: error.message, hint: undefined, exitCode: exitCodes.failed }
  }
  const tag = Predicate.hasProperty(error, "_tag") && typeof error._tag === "string" ? error._tag : "Unexpected"
  return {
    tag,
    message: error instanceof Error ? error.message : String(error),
    hint: tag === "Unexpected" ? "this is a bug of effect-transport-cli: please report it with the command" : undefined,
    exitCode: exitCodes.failed
  }
}

/** Explains how a command has ended; nothing where it was only interrupted. */
export const explainCause = (cause: Cause.Cause<unknown>): Option.Option<Explanation> =>
  Cause.isInterruptedOnly(cause) ? Option.none() : Option.some(explain(Cause.squash(cause)))

/** The exit code for a command that did not succeed. */
export const exitCodeOf = (cause: Cause.Cause<unknown>): number =>
  Option.match(explainCause(cause), { onNone: () => exitCodes.interrupted, onSome: ({ exitCode }) => exitCode })
