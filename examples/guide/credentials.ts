import { mkdtemp, rename, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Fiber, Layer, Redacted, Stream } from "effect"
import { Authorizer, Credentials, DevCa, Pins, Tls, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

export const FromPem = (folder: string) =>
  Credentials.layerPem({
    cert: { file: join(folder, "node.crt") },
    key: { file: join(folder, "node.key") },
    ca: { file: join(folder, "ca.crt") }
  })

export const FromPkcs12 = (folder: string) =>
  Credentials.layerPkcs12({
    pfx: { file: join(folder, "node.p12") },
    passphrase: Redacted.make("changeit"),
    ca: { file: join(folder, "ca.crt") }
  })

const rotated = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "guide-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true }))
  )
  const ca = yield* DevCa.make()
  // Written beside and renamed, as whoever replaces a file that somebody reads should do.
  const write = (name: string, text: string) =>
    Effect.promise(async () => {
      await writeFile(join(folder, `${name}.new`), text)
      await rename(join(folder, `${name}.new`), join(folder, name))
    })
  const issue = Effect.gen(function* () {
    const { cert, key } = yield* ca.issue({ names: ["localhost", "127.0.0.1"] })
    yield* write("node.key", Redacted.value(key))
    yield* write("node.crt", cert)
  })
  yield* write("ca.crt", ca.ca)
  yield* issue
  return yield* Effect.gen(function* () {
    const { changes } = yield* Credentials.Credentials
    const two = yield* Effect.fork(Stream.runCollect(Stream.take(changes, 2)))
    yield* issue
    return (yield* Fiber.join(two)).length
  }).pipe(Effect.provide(FromPem(folder)))
})

const pinned = Effect.gen(function* () {
  const ca = yield* DevCa.make()
  const node = yield* ca.issue({ names: ["localhost", "127.0.0.1"] })
  const other = yield* ca.issue({ names: ["localhost", "127.0.0.1"] })
  const pin = yield* Pins.publicKey(node.cert)
  const ServerLive = Layer.fresh(TlsLive).pipe(Layer.provide(Credentials.layerPem({ ...node, ca: ca.ca })))
  const ClientLive = (pin: Pins.Pin) =>
    Tls.layer().pipe(Layer.provide(Credentials.layerPem({ ...other, ca: ca.ca, pins: { all: [pin] } })))
  const { target } = yield* Transport.listen([], { authorize: Authorizer.authenticated }).pipe(
    Effect.provide(ServerLive)
  )
  const connect = Effect.scoped(Effect.as(Transport.client(PohService, target), "connected"))
  const good = yield* connect.pipe(Effect.provide(ClientLive(pin)))
  const wrong = yield* Pins.certificate(other.cert)
  const bad = yield* connect.pipe(
    Effect.provide(ClientLive(wrong)),
    Effect.catchTag("HandshakeFailed", ({ reason }) => Effect.succeed(reason))
  )
  return [good, bad]
})

export const program = Effect.scoped(Effect.all([rotated, pinned]))
