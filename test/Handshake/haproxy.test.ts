/** Listeners behind haproxy, which tells by the PROXY protocol whose connections it passes on. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { describeWith, freePort, start } from "../fixtures/command.js"
import * as Relay from "../fixtures/relay.js"
import { admissionOf } from "../fixtures/sources.js"
import { counting, hostOf, listening, visit, wires } from "../fixtures/sourceWires.js"
import { eventually, leavesNothing, testTimeout } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const proxy = "127.0.0.2"

/** It reaches the listener from an address of its own, and looks at its health by connections of its own. */
const configuration = (port: number, listener: number) => `
global
  log stdout format raw local0
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend front
  bind 127.0.0.1:${port}
  default_backend back
backend back
  source ${proxy}
  server plain 127.0.0.1:${listener} send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 100ms
`

describeWith(["haproxy"], "behind haproxy", () => {
  for (const wire of wires.filter(({ isTcp }) => isTcp)) {
    it.live(
      `${wire.name} knows its peers, and which of them may come`,
      () =>
        leavesNothing(
          Effect.gen(function* () {
            const admission = admissionOf({
              allow: ["127.0.0.3", "127.0.0.4"],
              deny: ["127.0.0.4"],
              proxyProtocol: { from: [proxy] }
            })
            const missing = yield* counting("ProxyHeader")
            const { address } = yield* listening(wire, admission.service)
            const dir = yield* directory
            const port = yield* freePort
            yield* Effect.promise(() => writeFile(join(dir, "config"), configuration(port, address.port)))
            yield* start("haproxy", ["-db", "-f", join(dir, "config")], dir)
            const from = (host: string) =>
              Effect.flatMap(Relay.tcp(port, host), (relay) => visit(wire, relay, "127.0.0.1"))
            yield* eventually(
              Effect.orDie(
                Effect.scoped(Effect.map(from("127.0.0.3"), (seen) => expect(hostOf(seen)).toBe("127.0.0.3")))
              ),
              "20 seconds"
            )
            for (const host of ["127.0.0.4", "127.0.0.5"]) {
              expect(yield* Effect.flip(from(host))).toMatchObject({ _tag: "HandshakeFailed", reason: "NotAuthorized" })
            }
            expect(yield* missing).toBe(0)
          })
        ),
      testTimeout
    )
  }
})
