/** The blocks of a source that is PEM or DER, and what OpenSSL says of those that it can't read. */
import * as Effect from "effect/Effect"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { armoured, type Block, failure, type Read, scan } from "../Pem.js"
import { codeOf } from "./nodeError.js"
import * as Steps from "./steps.js"

/** One source or several, as a list. */
export const many = <A>(value: A | ReadonlyArray<A> | undefined): ReadonlyArray<A> =>
  value === undefined ? [] : isMany(value) ? value : [value]

const isMany = <A>(value: A | ReadonlyArray<A>): value is ReadonlyArray<A> => Array.isArray(value)

/** Whether the source is DER instead of PEM. */
const isDer = ({ text }: Read) => text.startsWith("\x30") && !text.includes("-----BEGIN ")

/** Revocation lists may be long: longer text is read in steps that yield to other work. */
const maxSyncLength = 256 * 1024

/** The blocks of PEM, or the one that DER is. Fails with `Malformed` if a block has no end. */
export const blocksOf = (source: Read, label: string): Effect.Effect<ReadonlyArray<Block>, CredentialsError> => {
  const steps = isDer(source) ? ofDer(source, label) : scan(source.text)
  return Effect.filterOrFail(
    source.text.length > maxSyncLength
      ? Effect.promise(() => Steps.run(steps))
      : Effect.sync(() => Steps.runSync(steps)),
    (found) => found !== undefined,
    () => failure(source, "Malformed", "a PEM block does not end with an END line of its own")
  )
}

function* ofDer({ text }: Read, label: string): Steps.Steps<ReadonlyArray<Block>> {
  return [{ label, text: yield* armoured(label, Buffer.from(text, "latin1")) }]
}

/** OpenSSL's code as a suffix of a message: it tells what is wrong and shows nothing of the text. */
export const because = (error: unknown): string => (codeOf(error) === "" ? "" : ` (${codeOf(error)})`)
