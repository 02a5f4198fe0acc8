/** What `call -v` tells of a call beside its messages, on stderr. */
import { performance } from "node:perf_hooks"
import * as Effect from "effect/Effect"
import type { Metadata } from "effect-transport"
import { note, paint, json as toJson } from "../../shared/output.js"
import { oneLine } from "../../shared/text.js"

/** A note of something that happened, with its time since the command began, in milliseconds. */
export interface Verbose {
  readonly event: (what: string, text: string, fields?: { readonly [name: string]: unknown }) => Effect.Effect<void>
  readonly metadata: (what: string, sign: string, metadata: Metadata.Metadata) => Effect.Effect<void>
  /** The same, in a callback. */
  readonly metadataNow: (what: string, sign: string) => (metadata: Metadata.Metadata) => void
}

const show = (value: string | Uint8Array): string =>
  typeof value === "string" ? value : Buffer.from(value).toString("base64")

const nothing: Verbose = { event: () => Effect.void, metadata: () => Effect.void, metadataNow: () => () => {} }

export const make = (isWanted: boolean, json: boolean): Verbose => {
  if (!isWanted) {
    return nothing
  }
  const began = performance.now()
  const millis = () => Number((performance.now() - began).toFixed(2))
  const write = (what: string, lines: ReadonlyArray<string>, fields: { readonly [name: string]: unknown }) =>
    Effect.suspend(() =>
      json
        ? note(toJson({ event: what, millis: millis(), ...fields }))
        : Effect.forEach(lines, (line) => note(paint("dim", oneLine(line), process.stderr)), { discard: true })
    )
  const metadata: Verbose["metadata"] = (what, sign, { entries }) =>
    write(
      what,
      [`${sign} ${what} after ${millis()} ms`, ...entries.map(([key, value]) => `${sign} ${key}: ${show(value)}`)],
      { metadata: entries.map(([key, value]) => [key, show(value)]) }
    )
  return {
    event: (what, text, fields = {}) => Effect.suspend(() => write(what, [`* ${text}, after ${millis()} ms`], fields)),
    metadata,
    metadataNow: (what, sign) => (entries) => Effect.runSync(metadata(what, sign, entries))
  }
}
