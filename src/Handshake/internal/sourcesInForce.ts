/** What a listener goes by that others share with it: the rules of its admission, and what is known of sources. */
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import type { Gate } from "../../Transport/internal/admissionGate.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import * as SourceRules from "../../Transport/internal/sourceRules.js"
import type * as Sources from "./handshakeSources.js"

/** What is known of sources by all listeners that share an admission. */
const byGate = new WeakMap<Gate, Sources.Known>()

/** The sources known to a listener. */
export const known = (gate: Gate | undefined): Sources.Known => {
  const shared = gate === undefined ? undefined : byGate.get(gate)
  const sources: Sources.Known = shared ?? new Map()
  if (gate !== undefined) {
    byGate.set(gate, sources)
  }
  return sources
}

/** The rules in force, compiled once. Those that can't be read leave the last ones in force; admissions refuse them before. */
export const rules = (gate: Gate | undefined, boundary: Boundary): (() => SourceRules.SourceRules) => {
  let source = gate?.sources()
  const compile = (otherwise: SourceRules.SourceRules) =>
    source === undefined
      ? otherwise
      : Either.getOrElse(SourceRules.compile(source), (why) => {
          boundary.log(LogLevel.Error, "sources", `an admission can't be used; the one before stays: ${why}`)
          return otherwise
        })
  let compiled = compile(SourceRules.unlimited)
  return () => {
    const now = gate?.sources()
    if (now !== source) {
      source = now
      compiled = compile(compiled)
    }
    return compiled
  }
}

/** Open connections with what ends each. */
export const connections = (isAdmitted: (host: string | undefined) => boolean) => {
  const open = new Set<{ readonly host: string | undefined; readonly end: () => void }>()
  return {
    add: (host: string | undefined, end: () => void) => {
      const connection = { host, end }
      open.add(connection)
      return () => {
        open.delete(connection)
      }
    },
    review: () => {
      for (const connection of [...open]) {
        if (!isAdmitted(connection.host)) {
          open.delete(connection)
          connection.end()
        }
      }
    }
  }
}
