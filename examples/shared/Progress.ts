/** What happens, for people, line by line: when, who, what. */
import { styleText } from "node:util"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

type Style = "bad" | "good"

const styles = { bad: ["bold", "red"], good: ["bold", "green"] } as const

/** Where lines go: a terminal, or a pipe. */
type Out = Pick<NodeJS.WriteStream, "write"> & Partial<Pick<NodeJS.WriteStream, "isTTY" | "columns">>

/** A line of the log of somebody who talks to a peer that is away. */
interface Trouble {
  readonly who: string
  /** The peer. */
  readonly peer: string
  readonly text: string
  readonly isGivenUp: boolean
}

interface ProgressService {
  readonly line: (who: string, text: string, style?: Style) => Effect.Effect<void>
  /** What is tried again while a peer is away: one line a second, whatever comes. */
  readonly trouble: (trouble: Trouble) => Effect.Effect<void>
}

export class Progress extends Context.Tag("examples/Progress")<Progress, ProgressService>() {}

/** What of a line can be shortened without loss to a reader. */
const shorten = (text: string, width: number): string => {
  const brief = text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1…").replaceAll("\n", " ")
  return brief.length > width ? `${brief.slice(0, width - 1)}…` : brief
}

/** The width of a pipe, and of a terminal that does not tell. */
const defaultWidth = 100

/** What is said again within this time is said once. */
const repeatedMillis = 1_000

const folded = (troubles: ReadonlyArray<Trouble>): string => {
  const retries = troubles.filter(({ isGivenUp }) => !isGivenUp)
  const givenUp = troubles.filter(({ isGivenUp }) => isGivenUp)
  const first = retries[0]?.text
  const more = retries.length > 1 ? ` and ${retries.length - 1} more` : ""
  return [
    ...(first === undefined ? [] : [`${first}${more}`]),
    ...(givenUp.length === 0 ? [] : [`gave up ${givenUp.length} ${givenUp.length === 1 ? "call" : "calls"}`])
  ].join(", ")
}

const make = (out: Out) => {
  const isStyled = out.isTTY === true && (process.env.NO_COLOR ?? "") === ""
  const shown = new Map<string, number>()
  const troubles = new Map<string, Array<Trouble>>()

  const write = (who: string, text: string, style?: Style) => {
    const now = performance.now()
    const head = `${(now / 1_000).toFixed(1).padStart(5)} s  ${who.padEnd(8)} `
    const brief = shorten(text, (out.columns ?? defaultWidth) - head.length)
    const key = `${who} ${brief}`
    if (now - (shown.get(key) ?? Number.NEGATIVE_INFINITY) > repeatedMillis) {
      shown.set(key, now)
      out.write(`${head}${isStyled && style !== undefined ? styleText([...styles[style]], brief) : brief}\n`)
    }
  }

  const flush = Effect.sync(() => {
    const all = [...troubles.values()]
    troubles.clear()
    for (const each of all) {
      const [{ peer, who } = { peer: "", who: "" }] = each
      write(who, `${folded(each)}  peer=${peer}`)
    }
  })

  const service: ProgressService = {
    line: (who, text, style) => Effect.sync(() => write(who, text, style)),
    trouble: (trouble) =>
      Effect.sync(() => {
        const key = `${trouble.who} ${trouble.peer}`
        const known = troubles.get(key)
        if (known === undefined) {
          troubles.set(key, [trouble])
        } else {
          known.push(trouble)
        }
      })
  }
  return { service, flush }
}

export const layer = (out: Out) =>
  Layer.scoped(
    Progress,
    Effect.gen(function* () {
      const { flush, service } = make(out)
      yield* Effect.addFinalizer(() => flush)
      yield* Effect.forkScoped(Effect.schedule(flush, Schedule.spaced("1 second")))
      return service
    })
  )
