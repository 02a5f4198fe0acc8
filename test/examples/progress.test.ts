/** How the examples tell what happens. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as Progress from "../../examples/shared/Progress.js"

const told = <A>(
  out: { readonly isTTY?: boolean; readonly columns?: number },
  tell: (progress: Progress.Progress["Type"]) => Effect.Effect<A>
) =>
  Effect.gen(function* () {
    const written: Array<string> = []
    const write = (text: string) => written.push(text) > 0
    yield* Effect.provide(Effect.flatMap(Progress.Progress, tell), Progress.layer({ ...out, write }))
    return written.map((text) => text.replace(/^ *\d+\.\d s {2}/, "").trimEnd())
  })

const retry = (who: string, attempt: number) => ({
  who,
  peer: "node-3",
  text: `retry: caught Unavailable (${attempt}/5)`,
  isGivenUp: false
})

describe("Progress", () => {
  it.effect("folds what is tried again into a line per second and node", () =>
    Effect.gen(function* () {
      const lines = yield* told({}, ({ trouble }) =>
        Effect.gen(function* () {
          yield* trouble(retry("node-1", 1))
          yield* trouble(retry("node-1", 2))
          yield* trouble(retry("node-2", 1))
          yield* trouble(retry("node-1", 3))
          yield* trouble({ ...retry("node-1", 5), isGivenUp: true })
          yield* TestClock.adjust("1 second")
          yield* trouble(retry("node-2", 4))
        })
      )
      expect(lines).toEqual([
        "node-1   retry: caught Unavailable (1/5) and 2 more, gave up 1 call  peer=node-3",
        "node-2   retry: caught Unavailable (1/5)  peer=node-3",
        "node-2   retry: caught Unavailable (4/5)  peer=node-3"
      ])
    })
  )

  it.effect("has bold and colours on a terminal alone", () =>
    Effect.gen(function* () {
      const tell = ({ line }: Progress.Progress["Type"]) => line("node-3", "WAS KILLED", "bad")
      expect(yield* told({ isTTY: true }, tell)).toEqual(["node-3   \u001b[1m\u001b[31mWAS KILLED\u001b[39m\u001b[22m"])
      expect(yield* told({}, tell)).toEqual(["node-3   WAS KILLED"])
    })
  )

  it.effect("writes no line that is wider than the terminal, and no line break within one", () =>
    Effect.gen(function* () {
      const fingerprint = "0123456789abcdef".repeat(4)
      const tell = ({ line }: Progress.Progress["Type"]) =>
        Effect.zipRight(line("a", `has ${fingerprint}`), line("b", "long\n".repeat(50)))
      const [brief, long] = yield* told({ isTTY: true, columns: 80 }, tell)
      expect(brief).toBe("a        has 0123456789ab…")
      expect(long).toHaveLength(80 - "  0.0 s  ".length)
      expect(long).toMatch(/^b {8}long long .*…$/)
    })
  )
})
