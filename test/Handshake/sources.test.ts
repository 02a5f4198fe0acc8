/** What listeners of each wire let in by where it comes from. */
import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { admissionOf } from "../fixtures/sources.js"
import { clientFrom, counting, hostOf, listening, visit, wires } from "../fixtures/sourceWires.js"
import { closable, eventually, leavesNothing } from "../suite/fixtures/expect.js"

const [here, there] = ["127.0.0.1", "127.0.0.2"]

for (const wire of wires) {
  describe(`${wire.name}: a listener`, () => {
    it.live("tells those whose network is denied, and lets in the others", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ deny: [`${here}/32`, "10.0.0.0/8"] })
          const denied = yield* counting("Denied")
          const { address } = yield* listening(wire, admission.service)
          expect(yield* Effect.flip(visit(wire, address.port, here))).toMatchObject({
            _tag: "HandshakeFailed",
            reason: "NotAuthorized",
            refusedBy: "remote"
          })
          expect(yield* denied).toBeGreaterThan(0)
          expect(new Set(admission.refused)).toEqual(new Set(["source sources.deny"]))
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
        })
      )
    )

    it.live("lets in none but those who are allowed", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ allow: ["127.0.0.2/31"] })
          const { address } = yield* listening(wire, admission.service)
          expect(yield* Effect.flip(visit(wire, address.port, here))).toMatchObject({ reason: "NotAuthorized" })
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
          expect(hostOf(yield* visit(wire, address.port, "127.0.0.3"))).toBe("127.0.0.3")
        })
      )
    )

    it.live("ends the connections of a network that is denied later, and lets it in again when it is not", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({})
          const { address } = yield* listening(wire, admission.service)
          const denied = yield* clientFrom(wire, address.port, here)
          const other = yield* clientFrom(wire, address.port, there)
          const call = yield* Effect.fork(Effect.flip(Stream.runDrain(denied.echoServerStream({ message: "" }))))
          yield* denied.echo({ message: "" })
          yield* other.echo({ message: "" })
          admission.set({ deny: [here] })
          expect((yield* Fiber.join(call))._tag).toMatch(/Unavailable|HandshakeFailed/)
          expect(yield* Effect.flip(visit(wire, address.port, here))).toMatchObject({ reason: "NotAuthorized" })
          expect(hostOf((yield* other.echo({ message: "" })).message)).toBe(there)
          admission.set({ deny: [] })
          expect(hostOf(yield* visit(wire, address.port, here))).toBe(here)
        })
      )
    )

    it.live("has so many connections of a source at a time, and takes another when one has ended", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ connections: 2 })
          const tooMany = yield* counting("TooManyOfSource")
          const { address } = yield* listening(wire, admission.service)
          const [first, close] = yield* closable(clientFrom(wire, address.port, here))
          const second = yield* clientFrom(wire, address.port, here)
          yield* first.echo({ message: "" })
          yield* second.echo({ message: "" })
          const third = visit(wire, address.port, here, { connectTimeout: "2 seconds" })
          expect(yield* Effect.flip(third)).toMatchObject({ _tag: "Unavailable", processed: "no" })
          expect(yield* tooMany).toBeGreaterThan(0)
          expect(admission.refused).toContain("source sources.connections")
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
          yield* second.echo({ message: "" })
          yield* close
          yield* eventually(Effect.orDie(Effect.asVoid(third)), "5 seconds")
        })
      )
    )

    it.live("begins no handshakes while the node sheds them, and serves who is connected", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({})
          const { address } = yield* listening(wire, admission.service)
          const early = yield* clientFrom(wire, address.port, here)
          yield* early.echo({ message: "" })
          admission.overload(true)
          const shed = yield* counting("Overloaded")
          expect(yield* Effect.flip(visit(wire, address.port, there, { connectTimeout: "2 seconds" }))).toMatchObject({
            _tag: "Unavailable",
            processed: "no"
          })
          expect(yield* shed).toBeGreaterThan(0)
          expect(admission.refused).toContain("source listener.shed")
          expect(hostOf((yield* early.echo({ message: "" })).message)).toBe(here)
          admission.overload(false)
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
        })
      )
    )

    it.live("boxes a source for the reasons that it is told, and for so long", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ penalty: { refusals: 2, time: "1 second", reasons: ["UntrustedIssuer"] } })
          const { address } = yield* listening(wire, admission.service)
          const boxed = yield* counting("PenaltyBox")
          const stranger = Effect.flip(visit(wire, address.port, here, { isUntrusted: true }))
          for (let i = 0; i < 3; i++) {
            expect(yield* stranger).toMatchObject({ _tag: "HandshakeFailed", reason: "UntrustedIssuer" })
          }
          const refused = yield* Effect.flip(visit(wire, address.port, here, { connectTimeout: "200 millis" }))
          expect(["Unavailable", "DeadlineExceeded"]).toContain(refused._tag)
          expect(yield* boxed).toBeGreaterThan(0)
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
          yield* eventually(Effect.orDie(Effect.asVoid(visit(wire, address.port, here))), "5 seconds")
          admission.set({ penalty: { refusals: 2, reasons: ["Expired"] } })
          for (let i = 0; i < 5; i++) {
            expect(yield* stranger).toMatchObject({ reason: "UntrustedIssuer" })
          }
        })
      )
    )

    it.live("serves others while a source connects over and over", () =>
      leavesNothing(
        Effect.gen(function* () {
          const admission = admissionOf({ connectionsPerSecond: 20, handshakesPerSecond: { rate: 20, burst: 5 } })
          const { address } = yield* listening(wire, admission.service)
          const tooFast = yield* counting(wire.isTcp ? "ConnectionRate" : "HandshakeRate")
          const flood = wire.isTcp
            ? Effect.scoped(
                Effect.acquireUseRelease(
                  Effect.sync(() => Net.connect({ port: address.port, host: here }).on("error", () => {})),
                  (socket) =>
                    Effect.async<void>((resume) => {
                      socket.once("close", () => resume(Effect.void)).once("connect", () => resume(Effect.void))
                    }),
                  (socket) => Effect.sync(() => socket.destroy())
                )
              )
            : Effect.ignore(visit(wire, address.port, here, { connectTimeout: "300 millis" }))
          const flooding = yield* Effect.fork(
            Effect.forEach(Array.from({ length: wire.isTcp ? 400 : 40 }), () => flood, {
              concurrency: 20,
              discard: true
            })
          )
          yield* eventually(
            Effect.map(tooFast, (count) => expect(count).toBeGreaterThan(10)),
            "10 seconds"
          )
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
          yield* Fiber.join(flooding)
          expect(hostOf(yield* visit(wire, address.port, there))).toBe(there)
        })
      )
    )

    it.live("follows an admission no longer than it lives", () =>
      Effect.gen(function* () {
        const admission = admissionOf({})
        yield* Effect.scoped(
          Effect.map(listening(wire, admission.service), () => expect(admission.followers()).toBe(1))
        )
        expect(admission.followers()).toBe(0)
      })
    )

    it.live("does not begin with sources that can't be read", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Effect.scoped(listening(wire, admissionOf({ deny: ["10.0.0/8"] }).service)))
        expect(error).toMatchObject({ _tag: "BindError", reason: "AdmissionRefused" })
        expect(String(error)).toContain("sources.deny[0]")
      })
    )
  })
}
