import { expect, it } from "@effect/vitest"
import type { Connection } from "../../src/Quic/engine/QuicEngine.js"
import * as RequestBacklog from "../../src/Quic/internal/requestBacklog.js"

const rejected = 0x010b

const make = () => {
  const log: Array<string> = []
  const quic: Pick<Connection, "reset" | "stop" | "release" | "watch"> = {
    reset: (id, code) => log.push(`${id} reset ${code}`),
    stop: (id, code) => log.push(`${id} stop ${code}`),
    release: (id) => log.push(`${id} release`),
    watch: (id, isWatched) => log.push(`${id} watch ${isWatched}`)
  }
  return { ...RequestBacklog.make(quic), log }
}

const microtasks = () => new Promise<void>((resolve) => setImmediate(resolve))

it("requests are taken in the order they came, and watched until then", async () => {
  const { add, log, next, size } = make()
  add(0)
  add(4)
  await microtasks()
  expect(log.splice(0)).toEqual(["0 watch true", "4 watch true"])
  expect([next(), size(), next(), next()]).toEqual([0, 1, 4, undefined])
  expect(log).toEqual(["0 watch false", "4 watch false"])
})

it("one that is taken or removed at once is not watched after that", async () => {
  const { add, log, next, remove } = make()
  add(0)
  add(4)
  expect([next(), remove(4), remove(4)]).toEqual([0, true, false])
  await microtasks()
  expect(log).toEqual(["0 watch false"])
})

it("all that wait are rejected in both directions", () => {
  const { add, log, rejectAll, size } = make()
  add(0)
  add(4)
  rejectAll()
  expect(log).toEqual([0, 4].flatMap((id) => [`${id} reset ${rejected}`, `${id} stop ${rejected}`, `${id} release`]))
  expect(size()).toBe(0)
})
