/** Which errors may be answered with another attempt. */
import * as Predicate from "effect/Predicate"
import { isOwn, Unavailable } from "../../Transport/TransportError.js"

/** Whether trying again may help, and does nothing twice that the contract does not allow to be done twice. */
export const isSafe = (error: unknown): boolean =>
  error instanceof Unavailable ? error.processed === "no" || error.idempotent : !isOwn(error)

const hasTag = (tags: ReadonlyArray<string>) => (error: unknown) =>
  Predicate.hasProperty(error, "_tag") && typeof error._tag === "string" && tags.includes(error._tag)

/** What the option `on` says: tags, a predicate, or what is safe. */
export const matching = <E>(on: ReadonlyArray<string> | Predicate.Predicate<E> | undefined): Predicate.Predicate<E> =>
  on === undefined ? isSafe : typeof on === "function" ? on : hasTag(on)
