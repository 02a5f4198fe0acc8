/** What a peer says reaches the log as one line of printable characters, and not much of it. */
import * as NodeTls from "node:tls"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Credentials, DevCa, Tls, Transport } from "effect-transport"
import * as Wire from "../../src/protocol/wire/Wire.js"
import { limits, makeEnd } from "../protocol/wire/wireSupport.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const evil = `\u001b[31m\r\nlevel=ERROR forged\u0000${"x".repeat(10_000)}`

it.live("the text of a GOAWAY", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { layer, lines } = yield* captureLog
      const ca = yield* DevCa.make()
      const issued = yield* ca.issue({ names: ["127.0.0.1"] })
      const material = rawMaterial(issued, ca.ca)
      const credentials = Layer.succeed(Credentials.Credentials, Credentials.make(material))
      const context = yield* Effect.provide(Layer.build(Layer.provide(Tls.layer(), credentials)), layer)
      const listening = Effect.provide(Transport.listen([Transport.handlers(EchoService, echo)]), context)
      const { address } = yield* Effect.provide(listening, layer)
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const socket = NodeTls.connect({
            host: "127.0.0.1",
            port: address.port,
            ca: ca.ca,
            cert: issued.cert,
            key: Redacted.value(issued.key),
            ALPNProtocols: [Wire.alpnProtocol]
          })
          const { wire } = makeEnd("client", { ...limits, streamWindow: 2 ** 20 })
          wire.goaway("Overloaded", evil)
          socket.on("error", () => {})
          socket.on("secureConnect", () => {
            for (const chunk of wire.output(2 ** 20)) {
              socket.write(Buffer.from(chunk))
            }
          })
          return socket
        }),
        (socket) => Effect.sync(() => socket.destroy())
      )
      yield* eventually(
        Effect.sync(() => {
          const [line] = lines.filter(({ text }) => text.includes("Overloaded"))
          expect(line?.text).toContain("\\u001b[31m\\u000d\\u000alevel=ERROR forged\\u0000xxx")
          expect(line?.text).toMatch(/^[\x20-\x7e]{1,500}$/)
        })
      )
    })
  )
)
