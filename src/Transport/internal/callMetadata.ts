/** The metadata of a call that is about to be made, checked by the rule of all wires. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Metadata from "../Metadata.js"
import { InvalidArgument, ResourceExhausted } from "../TransportError.js"
import type { Where } from "./where.js"

export type Checked = Either.Either<Metadata.Metadata, Metadata.MetadataError>

const none: Checked = Either.right(Metadata.empty)

export const check = (input: Metadata.Input | undefined): Checked =>
  input === undefined ? none : Metadata.fromInput(input)

export const merge = (defaults: Checked, own: Metadata.Input | undefined): Checked =>
  own === undefined ? defaults : Either.zipWith(defaults, Metadata.fromInput(own), Metadata.concat)

/** The error of a call whose metadata can't be sent. */
export const failure = (
  { message, reason }: Metadata.MetadataError,
  { method, peer }: Where
): InvalidArgument | ResourceExhausted =>
  reason === "TooLarge"
    ? new ResourceExhausted({ message, method, peer })
    : new InvalidArgument({ message, method, peer })

/** The metadata of a call with more behind it. */
export const add = (
  metadata: Metadata.Metadata,
  added: Metadata.Input,
  where: Where
): Effect.Effect<Metadata.Metadata, InvalidArgument | ResourceExhausted> => {
  const checked = Metadata.fromInput(added)
  return Either.isLeft(checked)
    ? Effect.fail(failure(checked.left, where))
    : Effect.succeed(Metadata.concat(metadata, checked.right))
}
