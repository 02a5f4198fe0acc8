import type { Field } from "../../../src/protocol/Fields.js"
import * as Http3Datagram from "../../../src/protocol/http3/Http3Datagram.js"
import { Type } from "../../../src/protocol/http3/Http3Frames.js"
import * as Qpack from "../../../src/protocol/http3/Qpack.js"
import {
  codeOf,
  data,
  frame,
  get,
  headers,
  hearRequest,
  hearResponse,
  integers,
  makeEnd,
  outcome,
  post
} from "./http3Support.js"

const ok: Field = [":status", "200"]

/** Takes inputs made of a seed and gives how often each outcome came, by kind of input. */
export const fuzz = (runs: number, seed: number, onRun: (run: number) => void): Map<string, number> => {
  let state = seed
  /** Mulberry32: small, fast, and the same for the same seed. */
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(random() * n)
  const oneOf = <A>(first: A, ...others: ReadonlyArray<A>): A => others[below(others.length + 1)] ?? first
  const randomBytes = (most: number) => Buffer.from(Array.from({ length: below(most) }, () => below(256)))

  const fields = (): ReadonlyArray<Field> =>
    Array.from({ length: below(4) }, () =>
      oneOf<Field>(
        ["grpc-timeout", `${below(1000)}m`],
        ["x-a", randomBytes(20).toString("hex")],
        ["accept", "*/*"],
        ["te", "trailers"],
        ["content-length", String(below(5))],
        [oneOf("connection", "X-B", ":path", "host"), "a.example"]
      )
    )

  /** What stands in the middle of a message: mostly what is allowed there. */
  const parts = () =>
    Array.from({ length: below(4) }, () =>
      oneOf(
        data(...randomBytes(30)),
        data(1, 2, 3),
        frame(0x21, randomBytes(10)),
        frame(below(16), randomBytes(10)),
        headers(...fields())
      )
    )

  const kinds = {
    request: () => Buffer.concat([headers(...oneOf(post(...fields()), get)), ...parts()]),
    response: () => Buffer.concat([headers(oneOf(ok, [":status", "103"], ok), ...fields()), ...parts()]),
    control: () =>
      Buffer.concat([
        Buffer.of(oneOf(0, 0, 0, 0, 2, 3)),
        integers(Type.settings, oneOf(0x21, 0x06, 0x33), below(3)),
        ...Array.from({ length: below(4) }, () =>
          oneOf(integers(oneOf(Type.goaway, Type.maxPushId, 0x21), 4 * below(9)), frame(below(16), randomBytes(9)))
        )
      ]),
    section: () => headers(...post(...fields())).subarray(3),
    datagram: () => Http3Datagram.encode(4 * below(100_000), randomBytes(20))
  }
  type Kind = keyof typeof kinds
  const names: readonly [Kind, ...ReadonlyArray<Kind>] = ["request", "response", "control", "section", "datagram"]
  const honest = new Map(names.map((kind) => [kind, Array.from({ length: 200 }, kinds[kind])]))

  const input = (kind: Kind): Buffer => {
    const bytes = Buffer.from(honest.get(kind)?.[below(200)] ?? [])
    switch (below(8)) {
      case 0:
        return randomBytes(60)
      case 1:
        return bytes
      case 2:
      case 3:
        return bytes.subarray(0, below(bytes.length))
      default:
        for (let i = 0; i <= below(4); i++) {
          bytes[below(bytes.length)] = below(256)
        }
        return bytes
    }
  }

  const message = (hear: typeof hearRequest | typeof hearResponse, bytes: Buffer, sizes: ReadonlyArray<number>) => {
    const whole = outcome(hear(), bytes, [bytes.length])
    const inPieces = outcome(hear(), bytes, sizes)
    if (whole.join("\n") !== inPieces.join("\n")) {
      throw new Error(`${bytes.toString("hex")} in pieces of ${sizes} is not what it is as a whole`)
    }
    return whole.at(-1) ?? ""
  }

  const run = (kind: Kind, bytes: Buffer): string => {
    const sizes = Array.from({ length: 1 + below(4) }, () => 1 + below(40))
    switch (kind) {
      case "request":
        return message(hearRequest, bytes, sizes)
      case "response":
        return message(() => hearResponse(), bytes, sizes)
      case "control": {
        const { connection } = makeEnd(oneOf("client", "server"))
        let stopped = false
        return (
          codeOf(() => {
            for (let at = 0, i = 0; at < bytes.length && !stopped; i++) {
              const next = at + (sizes[i % sizes.length] ?? 1)
              stopped = connection.receive(2, bytes.subarray(at, next), false) !== undefined
              at = next
            }
          }) ?? (stopped ? "stopped" : "read")
        )
      }
      case "section":
        return codeOf(() => Qpack.decode(bytes, 0, bytes.length, 300)) ?? "read"
      case "datagram":
        return codeOf(() => Http3Datagram.decode(bytes)) ?? "read"
    }
  }

  const outcomes = new Map<string, number>()
  for (let i = 1; i <= runs; i++) {
    const kind = oneOf(...names)
    const name = `${kind}: ${run(kind, input(kind))}`
    outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
    onRun(i)
  }
  return outcomes
}
