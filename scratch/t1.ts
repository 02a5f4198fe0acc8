import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Quiche from "../src/Quic/internal/quiche.js"
import * as QuicheEngine from "../src/Quic/internal/quicheEngine.js"
import * as DevCa from "../src/Tls/DevCa.js"
const settings: any = { alpnProtocol: "test", maxUdpPayload: 1350, connectionWindow: 1<<20, streamWindow: 1<<18, maxBidiStreams: 100, maxUniStreams: 3, maxDatagrams: 100, keepaliveTime: 30000, keepaliveTimeout: 10000, handshakeTimeout: 2000, maxPacketRate: 1e6 }
const silent = { onReadable() {}, onDrain() {}, onStopped() {} }
const main = Effect.gen(function* () {
  const ca = yield* DevCa.make(); const other = yield* DevCa.make()
  const engine = QuicheEngine.make(yield* Effect.promise(() => Quiche.load()))
  const mk = (c: any, trust: any, opts: any) => Effect.map(c.issue(opts), (i: any) => ({ ca: [trust.ca], certificate: { chain: i.cert, key: Redacted.value(i.key) }, verifyChain: true }))
  const run = (name: string, st: any, ct: any) => Effect.promise(async () => {
    const l = await engine.listen({ local: { host: "127.0.0.1", port: 0 }, tls: () => st, settings, maxConnections: 9, maxHandshakes: 9, maxHandshakeRate: 99, onError() {}, onConnection: (c) => ({ onEstablished() { console.log(name, "server est", c.peerCertificates().length) }, onStream: () => silent, onDatagram() {}, onStreamsAvailable() {}, onClosed(x) { console.log(name, "server", JSON.stringify(x), c.peerCertificates().length) } }) } as any)
    await new Promise<void>((r) => {
      engine.connect({ remote: l.local, serverName: "localhost", tls: ct, settings } as any, (c) => ({ onEstablished() { console.log(name, "client est"); setTimeout(() => c.close(true, 0, ""), 200) }, onStream: () => silent, onDatagram() {}, onStreamsAvailable() {}, onClosed(x) { console.log(name, "client", JSON.stringify(x), c.peerCertificates().length); setTimeout(r, 50) } }))
    })
    await l.close()
  })
  const past = new Date(Date.now() - 86400e3 * 3), future = new Date(Date.now() + 86400e3)
  const good = yield* mk(ca, ca, { names: ["localhost"] }) as any
  yield* run("good", good, good)
  yield* run("untrusted server", yield* mk(other, ca, { names: ["localhost"] }) as any, good)
  yield* run("untrusted client", good, yield* mk(other, ca, { names: ["localhost"] }) as any)
  yield* run("other name", yield* mk(ca, ca, { names: ["elsewhere"] }) as any, good)
  yield* run("no client cert", good, { ...good, certificate: undefined })
})
Effect.runPromise(main as any)
