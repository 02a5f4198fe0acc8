import { expect, it } from "@effect/vitest"
import * as Handshakes from "../../../src/Quic/engine/handshakes.js"

const make = () => {
  const handshakes = Handshakes.make(1000)
  const log: Array<string> = []
  const begin = (id: string) =>
    handshakes.begin(id, { speak: () => log.push(`${id} speaks`), leave: () => log.push(`${id} leaves`) })
  return { ...handshakes, begin, log }
}

it("a client speaks with its second packet, and its handshake leaves its place once", () => {
  const { begin, count, end, log, size } = make()
  begin("a")
  expect([count("a", 100), count("a", 100), size()]).toEqual([undefined, undefined, 1])
  end("a")
  end("a")
  expect(log).toEqual(["a speaks", "a leaves"])
  expect(size()).toBe(0)
})

it("where all together take too much, the largest ends, which need not be the one that has come last", () => {
  const { begin, count, log, size } = make()
  begin("a")
  begin("b")
  count("a", 600)
  count("b", 400)
  expect(count("b", 100)).toBe("a")
  expect(log.splice(0)).toEqual(["b speaks", "a leaves"])
  // What the one that has ended took is free again.
  expect(count("b", 500)).toBe(undefined)
  expect(count("b", 1)).toBe("b")
  expect(size()).toBe(0)
})

it("what comes for a handshake that has ended counts no more", () => {
  const { begin, count, end } = make()
  begin("a")
  end("a")
  expect(count("a", 5000)).toBe(undefined)
  begin("b")
  expect(count("b", 1000)).toBe(undefined)
})

it("remembers those that took too much, and not without end", () => {
  const { isRefused, refuse } = make()
  for (let i = 0; i < 65_536; i++) {
    refuse(String(i))
  }
  expect([isRefused("0"), isRefused("65535"), isRefused("65536")]).toEqual([true, true, false])
  refuse("65536")
  expect([isRefused("0"), isRefused("65536")]).toEqual([false, true])
})
