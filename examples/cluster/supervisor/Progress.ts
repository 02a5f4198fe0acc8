import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** What happens, for people, line by line: when, who, what. */
export class Progress extends Context.Tag("cluster/Progress")<
  Progress,
  { readonly line: (who: string, text: string, details?: string) => Effect.Effect<void> }
>() {}

/** Several calls to one peer fail together: what a node says again within this time is shown once. */
const repeated = 1_000

export const layer = (out: NodeJS.WritableStream) =>
  Layer.effect(
    Progress,
    Effect.map(Clock.currentTimeMillis, (start) => {
      const shown = new Map<string, number>()
      return {
        line: (who, text, details = "") =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            const line = `${who.padEnd(8)} ${text}`
            if (now - (shown.get(line) ?? 0) > repeated) {
              shown.set(line, now)
              out.write(`${((now - start) / 1_000).toFixed(1).padStart(5)} s  ${line}${details}\n`)
            }
          })
      }
    })
  )
