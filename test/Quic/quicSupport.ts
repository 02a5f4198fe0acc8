import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as DevCa from "../../src/Credentials/DevCa.js"
import type * as QuicEngine from "../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"

export const settings: QuicEngine.ConnectionSettings = {
  alpnProtocol: "test",
  maxUdpPayload: 1350,
  connectionWindow: 1024 * 1024,
  streamWindow: 256 * 1024,
  maxBidiStreams: 100,
  maxUniStreams: 3,
  maxDatagrams: 100,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
  handshakeTimeout: 10_000,
  maxHandshakeBytes: 128 * 1024,
  maxPacketRate: 1_000_000,
  maxIdlePacketRate: 10_000,
  maxIdleBytes: 4 * 1024 * 1024
}

export const open = Effect.gen(function* () {
  const ca = yield* DevCa.make()
  const { cert, key } = yield* ca.issue({ names: ["localhost"] })
  const tls: QuicEngine.TlsSettings = {
    ca: [ca.ca],
    certificate: { chain: cert, key: Redacted.value(key) },
    verifyChain: true,
    asksCertificate: true
  }
  const engine = QuicheEngine.make(yield* Effect.promise(() => Quiche.load()))
  return { engine, tls }
})

export const silent: QuicEngine.StreamEvents = { onReadable: constVoid, onDrain: constVoid, onStopped: constVoid }

export const quiet: QuicEngine.Events = {
  onEstablished: constVoid,
  onConfirmed: constVoid,
  onStream: () => silent,
  onDatagram: constVoid,
  onOverflow: constVoid,
  onStreamsAvailable: constVoid,
  onClosed: constVoid
}

export const connecting = (
  engine: QuicEngine.QuicEngine,
  tls: QuicEngine.TlsSettings,
  remote: QuicEngine.HostPort,
  events: Partial<QuicEngine.Events> = {},
  options: Partial<QuicEngine.ConnectOptions> = {}
) =>
  Effect.acquireRelease(
    Effect.async<QuicEngine.Connection, QuicEngine.Close>((resume) => {
      engine.connect({ remote, serverName: "localhost", tls, settings, ...options }, (connection) => ({
        ...quiet,
        ...events,
        onEstablished: () => {
          connection.accept()
          resume(Effect.succeed(connection))
        },
        onClosed: (close) => {
          resume(Effect.fail(close))
          events.onClosed?.(close)
        }
      }))
    }),
    (connection) => Effect.sync(() => connection.close(true, 0, ""))
  )
