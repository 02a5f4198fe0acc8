/** `dns:///` over the system's own resolver, in a network with a resolv.conf of its own, on each wire. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { DevCa } from "effect-transport"
import { runs } from "../fixtures/child.js"
import { describeWhere } from "../fixtures/command.js"
import * as Dnsmasq from "../fixtures/dnsmasq.js"
import * as NetworkNamespace from "../fixtures/networkNamespace.js"
import { isInstalled } from "../suite/fixtures/system.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: [Dnsmasq.name] }))
const args = { ca: ca.ca, cert: issued.cert, key: Redacted.value(issued.key) }

const port = 50_051

const missing = ["dnsmasq", "nsenter", "unshare"].filter((command) => !isInstalled(command))
const otherwise = missing.length === 0 ? NetworkNamespace.missing : `${missing.join(", ")} is not installed`

describeWhere(otherwise === undefined, "names of the system", otherwise ?? "", () => {
  for (const wire of ["GrpcLive", "TlsLive", "QuicLive"]) {
    it.live(`${wire} follows them, and does without while they can't be told`, () =>
      Effect.scoped(
        Effect.gen(function* () {
          const within = yield* NetworkNamespace.make(["127.0.0.1"])
          const program = (more: object) => runs("replica.ts", [JSON.stringify({ ...args, wire, ...more })], within)
          const replica = (name: string) =>
            Effect.tap(program({ name, host: `127.0.0.${name}`, port }), ({ line }) => line)
          const [one, , three, dns] = yield* Effect.all(
            [replica("1"), replica("2"), replica("3"), Dnsmasq.run({ port: 53, before: within })],
            { concurrency: "unbounded" }
          )
          yield* dns.set(["127.0.0.1", "127.0.0.2"])
          const client = yield* program({ ask: `dns:///${Dnsmasq.name}:${port}` })

          /** Who answers until all of these have. */
          const answers = (...names: ReadonlyArray<string>) =>
            Stream.repeatEffect(client.line).pipe(
              Stream.scan<ReadonlyArray<string>, string>([], (seen, line) => [...seen, line]),
              Stream.takeUntil((seen) => names.every((name) => seen.includes(name))),
              Stream.runLast,
              Effect.map((seen) => (seen._tag === "Some" ? seen.value : []))
            )

          expect(new Set(yield* answers("1", "2"))).toEqual(new Set(["1", "2"]))

          // A connection that is lost has the name asked for at once.
          yield* dns.set(["127.0.0.2", "127.0.0.3"])
          yield* one.signal("SIGTERM")
          yield* one.ended
          const moved = yield* answers("3")
          expect(moved.filter((line) => !["1", "2", "3"].includes(line))).toEqual([])

          // A resolver that hangs leaves the addresses that are known.
          yield* dns.signal("SIGSTOP")
          yield* three.signal("SIGTERM")
          yield* three.ended
          const alone = yield* Stream.runCollect(Stream.take(Stream.repeatEffect(client.line), 20))
          expect([...alone].filter((line) => !["2", "3"].includes(line))).toEqual([])
          expect([...alone].slice(-10).every((line) => line === "2")).toBe(true)

          // It is asked again when it answers.
          yield* replica("1")
          yield* dns.tell(["127.0.0.1"])
          yield* dns.signal("SIGCONT")
          expect((yield* answers("1")).filter((line) => !["1", "2"].includes(line))).toEqual([])
        })
      )
    )
  }
})
