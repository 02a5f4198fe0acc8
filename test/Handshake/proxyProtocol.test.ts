/** Listeners behind proxies that say whose connections they pass on. */
import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Grpc, Memory, Transport } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import { otherWires } from "../fixtures/grpcEngines.js"
import * as Header from "../fixtures/proxyHeader.js"
import { admissionOf } from "../fixtures/sources.js"
import { clientFrom, counting, hostOf, listening, type SourceWire, visit, wires } from "../fixtures/sourceWires.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const [proxy, stranger] = ["127.0.0.2", "127.0.0.1"]
const behind = { proxyProtocol: { from: [proxy] } }
const from = (...bytes: ReadonlyArray<number>) => Header.make({ from: Buffer.from(bytes), fromPort: 4711 })
const user = from(192, 0, 2, 7)

/** A connection of the proxy's that sends bytes, and how it ends: with what was received. */
const send = (port: number, bytes: Uint8Array, localAddress = proxy) =>
  Effect.async<Buffer>((resume) => {
    const received: Array<Buffer> = []
    const socket = Net.connect({ port, host: "127.0.0.1", localAddress })
    socket.on("error", () => {}).on("data", (chunk) => received.push(chunk))
    socket.once("close", () => resume(Effect.succeed(Buffer.concat(received))))
    socket.write(bytes)
    return Effect.sync(() => socket.destroy())
  })

const insecure: SourceWire = {
  name: "GrpcLive without TLS",
  isTcp: true,
  layer: () => Grpc.layer()
}

for (const wire of wires.filter(({ isTcp }) => isTcp)) {
  describe(`${wire.name}: a listener behind a proxy`, () => {
    const visitAs = (port: number, header: ReadonlyArray<Uint8Array>, isUntrusted = false) =>
      visit(wire, port, proxy, { header, isUntrusted, connectTimeout: "10 seconds" })

    it.live("takes its word for where a peer is, in as many pieces as it comes", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ ...behind, deny: ["198.51.100.0/24"] })
          const { address } = yield* listening(wire, admission.service)
          expect(yield* visitAs(address.port, [user])).toBe("192.0.2.7:4711")
          expect(
            yield* visitAs(
              address.port,
              [...user].map((byte) => Uint8Array.of(byte))
            )
          ).toBe("192.0.2.7:4711")
          const checked = Header.make({ isChecked: true, tlvs: [[0x04, Buffer.alloc(400)]] })
          expect(yield* visitAs(address.port, [checked])).toBe("192.0.2.7:4711")
          const v6 = Buffer.from("20010db8000000000000000000000007", "hex")
          const header = Header.make({ family: 0x21, from: v6, to: v6 })
          expect(yield* visitAs(address.port, [header])).toBe("[2001:db8::7]:4711")
          const local = Header.make({ command: 0, family: 0, from: Buffer.alloc(0), to: Buffer.alloc(0), ports: false })
          expect(hostOf(yield* visitAs(address.port, [local]))).toBe(proxy)
        })
      )
    )

    it.live("judges and limits the peers themselves, each by its own", () =>
      leavesNothing(
        Effect.gen(function* () {
          const penalty = { refusals: 1, time: "1 minute" } as const
          const admission = admissionOf({ ...behind, deny: ["198.51.100.0/24"], connections: 1, penalty })
          const { address } = yield* listening(wire, admission.service)
          expect(yield* Effect.flip(visitAs(address.port, [from(198, 51, 100, 1)]))).toMatchObject({
            _tag: "HandshakeFailed",
            reason: "NotAuthorized"
          })
          const first = yield* clientFrom(wire, address.port, proxy, { header: [user] })
          expect((yield* first.echo({ message: "" })).message).toBe("192.0.2.7:4711")
          expect(yield* Effect.flip(visitAs(address.port, [user]))).toMatchObject({ _tag: "Unavailable" })
          expect(yield* visitAs(address.port, [from(192, 0, 2, 8)])).toBe("192.0.2.8:4711")
          const bad = from(192, 0, 2, 9)
          for (let i = 0; i < 2; i++) {
            expect(yield* Effect.flip(visitAs(address.port, [bad], true))).toMatchObject({ reason: "UntrustedIssuer" })
          }
          expect(yield* Effect.flip(visitAs(address.port, [bad]))).toMatchObject({ _tag: "Unavailable" })
          expect(yield* visitAs(address.port, [from(192, 0, 2, 8)])).toBe("192.0.2.8:4711")
        })
      )
    )

    it.live("closes a proxy's connection that has no header, or none in time, and says so", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { layer, lines } = yield* captureLog
          const admission = admissionOf({ proxyProtocol: { from: [proxy], timeout: "500 millis" } })
          const { address } = yield* listening(wire, admission.service, layer)
          const missing = yield* counting("ProxyHeader")
          const tooLong = Header.make({ tlvs: [[0x04, Buffer.alloc(506)]] })
          const refused = [
            Buffer.of(22, 3, 1, 0, 0),
            Buffer.from("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"),
            tooLong,
            Buffer.alloc(70_000, 7),
            user.subarray(0, 20),
            Buffer.alloc(0)
          ]
          const began = performance.now()
          for (const bytes of refused) {
            expect(yield* within(send(address.port, bytes), "5 seconds")).toEqual(Buffer.alloc(0))
          }
          // Two of them had to wait.
          expect(performance.now() - began).toBeGreaterThan(900)
          expect(yield* Effect.flip(visitAs(address.port, []))).toMatchObject({ _tag: "Unavailable" })
          expect(yield* missing).toBeGreaterThanOrEqual(refused.length + 1)
          expect(new Set(admission.refused)).toEqual(new Set(["source sources.proxyProtocol"]))
          expect(lines.filter(({ text }) => text.includes("caught"))).toEqual([])
          expect(yield* visitAs(address.port, [user])).toBe("192.0.2.7:4711")
        })
      )
    )

    it.live("takes nobody else's word, for whom a header is no TLS", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ ...behind, deny: ["192.0.2.7"] })
          const { address } = yield* listening(wire, admission.service)
          const refusals = yield* counting("NoCommonProtocol")
          const answer = yield* within(send(address.port, user, stranger), "5 seconds")
          expect(answer.subarray(0, 7)).toEqual(Buffer.of(21, 3, 3, 0, 2, 2, 70))
          expect(yield* refusals).toBe(1)
          expect(hostOf(yield* visit(wire, address.port, stranger))).toBe(stranger)
        })
      )
    )

    it.live("does not wait for proxies to close", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ proxyProtocol: { from: [proxy], timeout: "1 minute" } })
          const waiting = yield* Effect.scoped(
            Effect.gen(function* () {
              const { address } = yield* listening(wire, admission.service)
              const waiting = yield* Effect.fork(send(address.port, user.subarray(0, 3)))
              yield* visitAs(address.port, [user])
              return waiting
            })
          )
          yield* within(waiting, "5 seconds")
        })
      )
    )
  })
}

for (const wire of otherWires([insecure])) {
  describe(wire.name, () => {
    it.live("takes a proxy's word too", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ ...behind, deny: ["198.51.100.0/24"] })
          const material = { _tag: "Insecure" } as const
          const { address } = yield* listening(wire, admission.service, undefined, material)
          const ask = (header: ReadonlyArray<Uint8Array>) => visit(wire, address.port, proxy, { header, material })
          expect(yield* ask([user])).toBe("192.0.2.7:4711")
          expect(yield* ask([...user].map((byte) => Uint8Array.of(byte)))).toBe("192.0.2.7:4711")
          expect(yield* Effect.flip(ask([from(198, 51, 100, 1)]))).toMatchObject({ reason: "NotAuthorized" })
          expect(yield* Effect.flip(ask([]))).toMatchObject({ _tag: "Unavailable" })
        })
      )
    )
  })
}

describe("a wire that reads no headers of proxies", () => {
  it.scopedLive("refuses to listen behind one", () =>
    Effect.gen(function* () {
      const admission = admissionOf(behind)
      for (const wire of wires.filter(({ isTcp }) => !isTcp)) {
        expect(yield* Effect.flip(listening(wire, admission.service))).toMatchObject({
          _tag: "BindError",
          reason: "AdmissionRefused"
        })
      }
      const inMemory = Transport.listen([echoHandlers()], { admission: admission.service })
      expect(yield* Effect.flip(Effect.provide(inMemory, Memory.layer()))).toMatchObject({
        _tag: "BindError",
        reason: "AdmissionRefused"
      })
    })
  )
})
