/** What is thrown behind the doors of a wire ends one connection at the most. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Transport } from "effect-transport"
import { eventually, within } from "../fixtures/expect.js"
import { caught, Good, type Suite } from "./harness.js"

export const doors = ({ doors, goodCall, serveGood, test }: Suite): void => {
  for (const { break: breakDoor, door, title } of doors.filter(({ connects }) => connects === true)) {
    test(`${title} ends the connection that is being made`, (log) =>
      Effect.gen(function* () {
        const { target } = yield* serveGood()
        const before = yield* caught(door)
        const mend = yield* Effect.acquireRelease(Effect.sync(breakDoor), (mend) => Effect.sync(mend))
        const exit = yield* within(Effect.exit(Effect.scoped(Transport.client(Good, target))), "5 seconds")
        mend()
        expect(exit).toMatchObject({ _tag: "Failure", cause: { _tag: "Fail", error: { _tag: expect.any(String) } } })
        expect(yield* caught(door)).toBeGreaterThan(before)
        yield* within(goodCall(target), "5 seconds")
        expect(log.lines.map(({ text }) => text).join("\n")).toContain(`caught at the boundary (${door})`)
      }))
  }

  for (const { break: breakDoor, door, title, survives } of doors.filter(({ connects }) => connects !== true)) {
    test(`${title} ends one connection at the most`, (log) =>
      Effect.gen(function* () {
        const { target } = yield* serveGood()
        const client = yield* Transport.client(Good, target)
        expect(yield* client.unary("before")).toBe("before")
        const before = yield* caught(door)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const mend = yield* Effect.acquireRelease(Effect.sync(breakDoor), (mend) => Effect.sync(mend))
            const exit = yield* within(Effect.exit(client.unary("while broken", { timeout: "2 seconds" })), "5 seconds")
            if (survives !== true) {
              expect(exit._tag).toBe("Failure")
              if (exit._tag === "Failure") {
                expect(exit.cause).toMatchObject({ _tag: "Fail", error: { _tag: expect.any(String) } })
              }
            }
            yield* eventually(Effect.map(caught(door), (now) => expect(now).toBeGreaterThan(before)))
            mend()
          })
        )
        yield* within(goodCall(target), "5 seconds")
        expect(log.lines.map(({ text }) => text).join("\n")).toContain(`caught at the boundary (${door})`)
      }))
  }
}
