import { X509Certificate } from "node:crypto"
import { once } from "node:events"
import * as net from "node:net"
import { expect } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Credentials from "../../src/Tls/Credentials.js"
import * as DevCa from "../../src/Tls/DevCa.js"
import * as Certificate from "../../src/Tls/internal/certificate.js"
import * as TlsHandshake from "../../src/Tls/TlsHandshake.js"
import { HandshakeFailed, type Unavailable } from "../../src/Transport/TransportError.js"

/** What the layer holds when it is built. */
export const currentOf = <E>(layer: Layer.Layer<Credentials.Credentials, E>): Effect.Effect<Credentials.Material, E> =>
  Effect.scoped(Effect.flatMap(Layer.build(layer), (context) => Context.get(context, Credentials.Credentials).current))

/** The material of a layer that has TLS. */
export const tlsOf = <E>(layer: Layer.Layer<Credentials.Credentials, E>): Effect.Effect<Credentials.Tls, E> =>
  Effect.map(currentOf(layer), (material) => {
    if (material._tag !== "Tls") {
      throw new Error("no TLS")
    }
    return material
  })

/** Material without the checks of the layers, so that a peer can show a certificate that no layer would load. */
export const rawMaterial = (issued: DevCa.Issued | undefined, ...ca: ReadonlyArray<string>): Credentials.Tls => ({
  _tag: "Tls",
  ca,
  certificate: Option.map(Option.fromNullable(issued), ({ cert, key }) => ({
    chain: cert,
    key,
    identity: Certificate.identityOf(new X509Certificate(cert))
  }))
})

export const loopbackNames = ["localhost", "127.0.0.1", "::1"]

/** Certificates for 127.0.0.1, good and bad. */
export const authority = Effect.gen(function* () {
  const trusted = yield* DevCa.make()
  const other = yield* DevCa.make()
  const issue = (options?: Partial<DevCa.IssueOptions>, ca = trusted) => ca.issue({ names: loopbackNames, ...options })
  const day = 24 * 3600_000
  return {
    trusted,
    other,
    good: yield* issue(),
    client: yield* issue({ usages: ["client"], commonName: "client", spiffeId: "spiffe://mesh/client" }),
    clientOnly: yield* issue({ usages: ["client"] }),
    serverOnly: yield* issue({ usages: ["server"] }),
    expired: yield* issue({ notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) }),
    notYetValid: yield* issue({ notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) }),
    selfSigned: yield* issue({ selfSigned: true }),
    untrusted: yield* issue({}, other),
    otherName: yield* issue({ names: ["elsewhere.example", "10.0.0.1"] })
  }
})

/** A TCP listener on loopback; what it has accepted is closed with it. `live` counts its open sockets. */
export const listen = (onSocket: (socket: net.Socket) => void, path?: string) =>
  Effect.gen(function* () {
    const sockets = new Set<net.Socket>()
    const server = net.createServer((socket) => {
      sockets.add(socket)
      socket.on("close", () => sockets.delete(socket))
      // A socket that is handed on has other listeners; here only its errors must not end the process.
      socket.on("error", () => {})
      onSocket(socket)
    })
    yield* Effect.acquireRelease(
      Effect.promise(async () => {
        server.listen(path === undefined ? { host: "127.0.0.1", port: 0 } : { path })
        await once(server, "listening")
      }),
      () =>
        Effect.promise(async () => {
          for (const socket of sockets) {
            socket.destroy()
          }
          server.close()
          await once(server, "close")
        })
    )
    const address = server.address()
    return {
      port: typeof address === "object" && address !== null ? address.port : 0,
      live: () => sockets.size
    }
  })

/** A connected socket, destroyed with the scope. */
export const connect = (to: number | string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = typeof to === "string" ? net.connect(to) : net.connect(to, "127.0.0.1")
      socket.on("error", () => {})
      await once(socket, "connect")
      return socket
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Waits for the event. */
export const event = (socket: net.Socket, name: string) =>
  Effect.async<void>((resume) => {
    socket.once(name, () => resume(Effect.void))
  })

/** Waits until the condition holds, looking again after every turn of the event loop. */
export const eventually = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (condition() ? Effect.void : Effect.delay(eventually(condition), "2 millis"))).pipe(
    Effect.timeout("5 seconds"),
    Effect.orDie
  )

/** A listener whose clients go through the acceptor under test. */
export const acceptor = (
  material: Credentials.Tls,
  options?: Partial<TlsHandshake.AcceptorOptions> & { readonly path?: string }
) =>
  Effect.gen(function* () {
    const secured: Array<TlsHandshake.SecureSocket> = []
    const refused: Array<TlsHandshake.Refusal> = []
    const it = TlsHandshake.makeAcceptor({
      material,
      alpnProtocols: ["h2"],
      handshakeTimeoutMillis: 5_000,
      clientCertificate: "require",
      onSecure: (secure) => secured.push(secure),
      onRefused: (refusal) => refused.push(refusal),
      ...options
    })
    const listener = yield* listen(it.accept, options?.path)
    return { ...it, ...listener, secured, refused }
  })

/** A client whose handshake is under test, on a socket of its own. */
export const secure = (
  to: number | string,
  material: Credentials.Tls,
  options?: Partial<TlsHandshake.ConnectOptions>
) =>
  Effect.gen(function* () {
    const socket = yield* connect(to)
    const connected = yield* TlsHandshake.connectSecure(socket, {
      material,
      nameWanted: "localhost",
      alpnProtocols: ["h2"],
      peer: "peer:1",
      ...options
    }).pipe(Effect.tapError(() => Effect.sync(() => expect(socket.destroyed).toBe(true))))
    yield* Effect.addFinalizer(() => Effect.sync(() => connected.socket.destroy()))
    return connected
  })

/** Why such a client fails. */
export const failure = (...args: Parameters<typeof secure>) => Effect.flip(secure(...args))

/** The reason of a refusal and who refused. */
export const reasonOf = (error: HandshakeFailed | Unavailable) =>
  error instanceof HandshakeFailed ? [error.reason, error.refusedBy] : [error._tag, error.processed]
