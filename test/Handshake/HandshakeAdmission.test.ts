import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as fc from "fast-check"
import * as Admission from "../../src/Handshake/HandshakeAdmission.js"
import type * as AdmissionSources from "../../src/Transport/AdmissionSources.js"
import { admission } from "../fixtures/admission.js"
import { admissionOf } from "../fixtures/sources.js"

describe("a source is", () => {
  it.each([
    ["an IPv4 address", "192.0.2.7", "192.0.2.7"],
    ["an IPv4 address within IPv6", "::ffff:192.0.2.7", "192.0.2.7"],
    ["the same in hexadecimal", "::FFFF:c000:0207", "192.0.2.7"],
    ["the same without abbreviation", "0:0:0:0:0:ffff:192.0.2.7", "192.0.2.7"],
    ["an IPv4 address behind a translator", "64:ff9b::192.0.2.7", "192.0.2.7"],
    ["a /64", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["the /64 of an abbreviated address", "2001:db8::1", "2001:db8:0:0::/64"],
    ["the /64 of one with leading zeros", "2001:0DB8:0000::0001", "2001:db8:0:0::/64"],
    ["a /64 whose address has a zone", "fe80::1%eth0", "fe80:0:0:0::/64"],
    ["loopback", "::1", "0:0:0:0::/64"],
    ["nothing for a unix socket", undefined, Admission.exempt]
  ])("%s", (_, host, source) => {
    expect(Admission.sourceOf(host)).toBe(source)
  })

  it("the same for all addresses of a /64, and another for those of others", () => {
    const group = fc.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16))
    // 2000::/3, where hosts have theirs.
    const prefix = fc.tuple(
      fc.integer({ min: 0x2000, max: 0x3fff }).map((n) => n.toString(16)),
      group,
      group,
      group
    )
    const host = fc.tuple(group, group, group, group)
    const source = (prefix: ReadonlyArray<string>, host: ReadonlyArray<string>) =>
      Admission.sourceOf([...prefix, ...host].join(":"))
    fc.assert(
      fc.property(prefix, prefix, host, host, (one, other, a, b) => {
        expect(source(one, a)).toBe(source(one, b))
        expect(source(one, a) === source(other, b)).toBe(one.join() === other.join())
      })
    )
  })

  it("text whatever it is made of", () => {
    fc.assert(fc.property(fc.string(), (text) => typeof Admission.sourceOf(text) === "string"))
  })
})

/** An admission by a clock that the test sets. */
const at = (limits: Partial<Admission.Limits>) => {
  const clock = { now: 1_000_000 }
  return { clock, it: admission(limits, () => clock.now) }
}

describe("the rate", () => {
  it("lets a second's worth through at once, and then one after the other", () => {
    const { clock, it } = at({ maxHandshakeRate: 10 })
    const delays = Array.from({ length: 13 }, () => it.delay("a", 1000))
    expect(delays).toEqual([...Array.from({ length: 10 }, () => 0), 100, 200, 300])
    clock.now += 10_000
    expect(it.delay("a", 0)).toBe(0)
  })

  it("refuses what would have to wait too long, without counting it", () => {
    const { clock, it } = at({ maxHandshakeRate: 2 })
    expect([it.delay("a", 0), it.delay("a", 0), it.delay("a", 0), it.delay("a", 499)]).toEqual([
      0,
      0,
      undefined,
      undefined
    ])
    clock.now += 500
    expect(it.delay("a", 0)).toBe(0)
  })

  it("is each source's own, and none for unix sockets", () => {
    const { it } = at({ maxHandshakeRate: 1 })
    expect([it.delay("a", 0), it.delay("a", 0), it.delay("b", 0)]).toEqual([0, undefined, 0])
    expect([it.delay(Admission.exempt, 0), it.delay(Admission.exempt, 0)]).toEqual([0, 0])
  })

  it("of the listener counts all", () => {
    const { it } = at({ maxTotalHandshakeRate: 2 })
    expect([it.totalDelay(0), it.totalDelay(0), it.totalDelay(0), it.totalDelay(500)]).toEqual([0, 0, undefined, 500])
  })

  it.each([
    ["infinite", Number.POSITIVE_INFINITY, [0, 0, 0]],
    ["less than one", 0.5, [0, undefined, undefined]],
    ["nothing", 0, [undefined, undefined, undefined]]
  ])("can be %s", (_, maxHandshakeRate, delays) => {
    const { it } = at({ maxHandshakeRate })
    expect([it.delay("a", 0), it.delay("a", 0), it.delay("a", 0)]).toEqual(delays)
  })
})

describe("a place", () => {
  const enter = (it: Admission.Admission, source: string, closed: Array<string>, name: string) =>
    it.enter(source, (reason) => closed.push(`${name} ${reason}`))

  it("is made by the oldest that has sent nothing, whoever it is", () => {
    const { it } = at({ maxHandshakes: 3 })
    const closed: Array<string> = []
    enter(it, "a", closed, "first").speak()
    enter(it, "b", closed, "second")
    enter(it, "c", closed, "third")
    enter(it, "a", closed, "fourth")
    expect(closed).toEqual(["second TooManyHandshakes"])
  })

  it("is made by the oldest of the source that has the most, where all have sent something", () => {
    const { it } = at({ maxHandshakes: 4 })
    const closed: Array<string> = []
    for (const [source, name] of [
      ["good", "first"],
      ["flood", "second"],
      ["flood", "third"],
      ["flood", "fourth"],
      ["other", "fifth"]
    ] as const) {
      enter(it, source, closed, name).speak()
    }
    expect(closed).toEqual(["second TooManyHandshakes"])
  })

  it("can be given up, which others need not make then", () => {
    const { it } = at({ maxHandshakes: 1 })
    const closed: Array<string> = []
    const first = enter(it, "a", closed, "first")
    first.leave()
    first.speak()
    enter(it, "a", closed, "second")
    expect(closed).toEqual([])
  })
})

describe("the penalty box", () => {
  const refuse = (it: Admission.Admission, source: string, times: number, bytes = 0) => {
    for (let i = 0; i < times; i++) {
      it.refused(source, bytes)
    }
  }

  it("holds a source that was refused more often than it may within 10 seconds, and no other", () => {
    const { clock, it } = at({ maxRefusals: 3 })
    refuse(it, "a", 3)
    expect(it.isBoxed("a")).toBe(false)
    refuse(it, "a", 1)
    expect([it.isBoxed("a"), it.isBoxed("b")]).toEqual([true, false])
    clock.now += 9_999
    expect(it.isBoxed("a")).toBe(true)
    clock.now += 1
    expect(it.isBoxed("a")).toBe(false)
  })

  it("forgets what was refused 10 seconds ago, and what was before a success", () => {
    const { clock, it } = at({ maxRefusals: 3 })
    refuse(it, "a", 3)
    clock.now += 10_001
    refuse(it, "a", 3)
    it.succeeded("a")
    refuse(it, "a", 3)
    expect(it.isBoxed("a")).toBe(false)
  })

  it("holds twice as long each time, up to 32 times, until the source has been good for as long", () => {
    const { clock, it } = at({ maxRefusals: 0, refusalPenalty: Duration.seconds(1) })
    const times = Array.from({ length: 8 }, () => {
      refuse(it, "a", 1)
      const since = clock.now
      while (it.isBoxed("a")) {
        clock.now += 1000
      }
      return (clock.now - since) / 1000
    })
    expect(times).toEqual([1, 2, 4, 8, 16, 32, 32, 32])
    clock.now += 32_000
    refuse(it, "a", 1)
    clock.now += 1000
    expect(it.isBoxed("a")).toBe(false)
  })

  it("counts large handshakes for more, and ordinary ones once", () => {
    const { it } = at({ maxRefusals: 100 })
    refuse(it, "ordinary", 100, 4 * 1024)
    refuse(it, "twice", 1, 83_000)
    refuse(it, "much", 1, Number.POSITIVE_INFINITY)
    expect([it.isBoxed("ordinary"), it.isBoxed("twice"), it.isBoxed("much")]).toEqual([false, true, true])
  })

  it("ends all that its source has begun", () => {
    const { it } = at({ maxRefusals: 0 })
    const closed: Array<string> = []
    it.enter("a", (reason) => closed.push(`1 ${reason}`))
    it.enter("a", (reason) => closed.push(`2 ${reason}`)).speak()
    it.enter("b", (reason) => closed.push(`3 ${reason}`))
    refuse(it, "a", 1)
    expect(closed).toEqual(["1 PenaltyBox", "2 PenaltyBox"])
  })

  it("does not hold unix sockets", () => {
    const { it } = at({ maxRefusals: 0 })
    refuse(it, Admission.exempt, 10, Number.POSITIVE_INFINITY)
    expect(it.isBoxed(Admission.exempt)).toBe(false)
  })
})

describe("the table of sources", () => {
  it("is bounded, refuses those for whom there is no room, and keeps those in the box", () => {
    const { clock, it } = at({ maxRefusals: 0, refusalPenalty: Duration.seconds(1) })
    it.refused("bad", 0)
    for (let i = 0; i < 65_535; i++) {
      it.delay(`source ${i}`, 0)
    }
    expect(it.delay("late", 0)).toBeUndefined()
    expect(it.isBoxed("bad")).toBe(true)
    // Nothing of the others matters any more.
    clock.now += 10_000
    expect(it.delay("late", 0)).toBe(0)
    it.refused("bad", 0)
    clock.now += 1500
    expect(it.isBoxed("bad")).toBe(true)
  })
})

describe("listeners that share an admission", () => {
  const sharing = (sources: AdmissionSources.SourceOptions) => {
    const { service, set } = admissionOf(sources)
    const clock = { now: 1_000_000 }
    const listener = () => admission({}, () => clock.now, service.gate)
    return { clock, one: listener(), other: listener(), set }
  }

  it("count the connections of a source together, each once", () => {
    const { one, other, set } = sharing({ connections: 2 })
    const leave = one.join("192.0.2.7", () => {}) ?? expect.fail("there is room")
    expect(other.join("::ffff:192.0.2.7", () => {})).toBeDefined()
    expect([one.isFull("192.0.2.7"), other.isFull("192.0.2.7"), one.isFull("192.0.2.8")]).toEqual([true, true, false])
    expect(one.join("192.0.2.7", () => {})).toBeUndefined()
    leave()
    leave()
    expect(other.join("192.0.2.7", () => {})).toBeDefined()
    expect(other.join("192.0.2.7", () => {})).toBeUndefined()
    set({ connections: 3 })
    expect(other.join("192.0.2.7", () => {})).toBeDefined()
  })

  it("count its rates together, and box it together", () => {
    const { clock, one, other } = sharing({
      connectionsPerSecond: { rate: 10, burst: 2 },
      handshakesPerSecond: { rate: 1, burst: 1 },
      penalty: { refusals: 1, time: "1 second" }
    })
    expect([one.isTooFast("a"), other.isTooFast("a"), one.isTooFast("a"), other.isTooFast("b")]).toEqual([
      false,
      false,
      true,
      false
    ])
    clock.now += 100
    expect([other.isTooFast("a"), one.isTooFast("a")]).toEqual([false, true])
    expect([one.delay("a", 0), other.delay("a", 0), other.delay("a", 1000)]).toEqual([0, undefined, 1000])
    one.refused("a", 0, "Expired")
    other.refused("a", 0, "HandshakeTimeout")
    expect(one.isBoxed("a")).toBe(false)
    other.refused("a", 0, "Expired")
    expect([one.isBoxed("a"), other.isBoxed("a")]).toEqual([true, true])
    clock.now += 1000
    expect(one.isBoxed("a")).toBe(false)
  })

  it("keep a source in mind as long as it has a connection, however many others come", () => {
    const { clock, one } = sharing({ connections: 1 })
    const leave = one.join("192.0.2.7", () => {}) ?? expect.fail("there is room")
    for (let i = 0; i < 70_000; i++) {
      clock.now += 10_000
      one.isTooFast(`source ${i}`)
    }
    expect(one.isFull("192.0.2.7")).toBe(true)
    leave()
    expect(one.isFull("192.0.2.7")).toBe(false)
  })

  it("end the connections that the rules in force do not let in, once", () => {
    const { one, set } = sharing({})
    const ended: Array<string> = []
    one.join("192.0.2.7", () => ended.push("denied"))
    one.join("192.0.2.8", () => ended.push("other"))
    one.join(undefined, () => ended.push("unix"))
    one.join("192.0.2.7", () => ended.push("gone"))?.()
    set({ deny: ["192.0.2.7"] })
    one.review()
    one.review()
    expect(ended).toEqual(["denied"])
  })

  it("limit no unix sockets", () => {
    const { one } = sharing({ connections: 0, connectionsPerSecond: 1, allow: [] })
    expect(one.refusal(undefined)).toBeUndefined()
    expect([one.isTooFast(Admission.exempt), one.isTooFast(Admission.exempt)]).toEqual([false, false])
    expect(one.isFull(Admission.exempt)).toBe(false)
    expect(one.join(undefined, () => {})).toBeDefined()
  })
})
