import * as Zlib from "node:zlib"
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Gzip from "../../src/Calls/Gzip.js"

const zeros = (size: number) => Zlib.gzipSync(Buffer.alloc(size))

/** What inflating in another thread comes to, and how much it said that it had grown. */
const inflate = (bytes: Uint8Array, maxSize: number) =>
  new Promise<{ readonly result: Gzip.Inflated; readonly grown: number }>((resolve) => {
    let grown = 0
    Gzip.inflate(
      bytes,
      maxSize,
      (size) => {
        grown += size
      },
      (result) => resolve({ result, grown })
    )
  })

/** The same, at once where it is small. */
const either = async (bytes: Uint8Array, maxSize: number): Promise<Gzip.Inflated> => {
  const now = Gzip.inflateNow(bytes, maxSize)
  return now === "Later" ? (await inflate(bytes, maxSize)).result : now
}

const withClaim = (bytes: Buffer, size: number): Buffer => {
  const lying = Buffer.from(bytes)
  lying.writeUInt32LE(size, lying.length - 4)
  return lying
}

describe("gzip", () => {
  it("what was compressed is inflated, at once and later", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(FastCheck.uint8Array({ maxLength: 3000 }), FastCheck.nat(100), async (bytes, times) => {
        const message = Buffer.concat(Array.from({ length: times }, () => bytes))
        const deflated = Gzip.deflateNow(message)
        expect(Buffer.compare(Buffer.from(await either(deflated, message.length)), message)).toBe(0)
        expect(Buffer.compare(Buffer.from((await inflate(deflated, message.length)).result), message)).toBe(0)
      }),
      { numRuns: 50 }
    )
  })

  it("any bytes come to a message or to what is wrong with them", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(FastCheck.uint8Array({ maxLength: 60 }), FastCheck.boolean(), async (bytes, isGzip) => {
        const all = isGzip ? Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), bytes]) : bytes
        const now = Gzip.inflateNow(all, 1000)
        const { result } = await inflate(all, 1000)
        if (now !== "Later") {
          expect(now).toEqual(result)
        }
      }),
      { numRuns: 200 }
    )
  })

  const large = Zlib.gzipSync(Buffer.alloc(1_000_000, "abc"))
  for (const [name, whole] of [
    ["small", Zlib.gzipSync("hello")],
    ["large", large]
  ] as const) {
    const malformed: ReadonlyArray<readonly [string, Buffer]> = [
      ["nothing", Buffer.alloc(0)],
      ["something else", Buffer.from("hello, this is not compressed at all")],
      ["zlib's own format", Zlib.deflateSync(Buffer.alloc(100))],
      ["cut off", whole.subarray(0, -1)],
      ["cut off in the middle", whole.subarray(0, whole.length / 2)],
      ["with garbage behind it", Buffer.concat([whole, Buffer.from("garbage")])],
      ["with half a member behind it", Buffer.concat([whole, whole.subarray(0, 10)])],
      ["with a wrong checksum", Buffer.concat([whole.subarray(0, -8), Buffer.alloc(4), whole.subarray(-4)])],
      ["with a wrong size", withClaim(whole, 7)]
    ]
    for (const [what, bytes] of malformed) {
      it(`a ${name} message is malformed that is ${what}`, async () => {
        expect(await either(bytes, 4_000_000)).toBe("Malformed")
        expect((await inflate(bytes, 4_000_000)).result).toBe("Malformed")
      })
    }
  }

  it("several members are one message, within the limit of one", async () => {
    const members = Buffer.concat([Zlib.gzipSync("one "), Zlib.gzipSync(""), Zlib.gzipSync("two")])
    expect(Buffer.from(await either(members, 7)).toString()).toBe("one two")
    expect(await either(members, 6)).toBe("TooLarge")
    const bombs = Buffer.concat(Array.from({ length: 100 }, () => zeros(1_000_000)))
    expect((await inflate(bombs, 4_000_000)).result).toBe("TooLarge")
  })

  it("a message of the largest size passes, and of a byte more it does not", async () => {
    for (const size of [1, 1000, Gzip.maxInlineBytes, Gzip.maxInlineBytes + 1, 1_000_000]) {
      expect(await either(zeros(size), size)).toEqual(new Uint8Array(size))
      expect(await either(zeros(size + 1), size)).toBe("TooLarge")
    }
    expect(await either(zeros(0), 0)).toHaveLength(0)
    expect(await either(zeros(1), 0)).toBe("TooLarge")
  })

  it("what would be large is not inflated at once, whatever it claims to be", () => {
    expect(Gzip.inflateNow(zeros(4_000_000), 4_000_000)).toBe("Later")
    expect(Gzip.inflateNow(withClaim(zeros(4_000_000), 10), 4_000_000)).toBe("Later")
    expect(Gzip.inflateNow(Zlib.gzipSync(Buffer.alloc(70_000), { level: 0 }), 4_000_000)).toBe("Later")
  })

  it("a bomb is given up as soon as it is too large, and its growth is told", async () => {
    const { grown, result } = await inflate(zeros(50_000_000), 1_000_000)
    expect(result).toBe("TooLarge")
    expect(grown).toBeLessThanOrEqual(1_000_000)
    expect((await inflate(zeros(1_000_000), 1_000_000)).grown).toBe(1_000_000)
  })

  it("a message keeps no more memory than it has bytes, whatever it claimed", () => {
    const sizes = [5, 1023, 4095, 4096, 60_000]
    for (const size of sizes) {
      const inflated = Gzip.inflateNow(Zlib.gzipSync(Buffer.alloc(size)), 100_000)
      expect(typeof inflated === "string" ? inflated : inflated.buffer.byteLength - size).toBeLessThanOrEqual(1)
    }
    const claiming = Buffer.concat([zeros(5), zeros(60_000)])
    const inflated = Gzip.inflateNow(claiming, 100_000)
    expect(typeof inflated === "string" ? inflated : inflated.buffer.byteLength - 60_005).toBeLessThanOrEqual(1)
  })

  it("however many are inflated at once, all are", async () => {
    const bytes = zeros(200_000)
    const all = await Promise.all(Array.from({ length: 100 }, () => inflate(bytes, 200_000)))
    expect(new Set(all.map(({ result }) => result.length))).toEqual(new Set([200_000]))
  })

  it("what is given up says nothing more", async () => {
    let told = 0
    const tell = () => {
      told += 1
    }
    // More than there are threads: some have begun, others have not.
    const bomb = zeros(4_000_000)
    const inflating = Array.from({ length: 2000 }, () => Gzip.inflate(bomb, 4_000_000, tell, tell))
    for (const stop of inflating) {
      stop()
      stop()
    }
    const stops = Array.from({ length: 20 }, () => Gzip.deflate(Buffer.alloc(100_000), tell))
    for (const stop of stops) {
      stop()
    }
    // Those behind them have their turn all the same.
    await new Promise((resolve) => Gzip.deflate(Buffer.alloc(100_000), resolve))
    await inflate(zeros(4_000_000), 4_000_000)
    expect(told).toBe(0)
  })
})
