import { randomBytes } from "node:crypto"
import { mkdtemp, rm } from "node:fs/promises"
import * as http2 from "node:http2"
import type * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as tls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as DevCa from "../../src/Credentials/DevCa.js"
import { contextOptions } from "../../src/Credentials/internal/secureContext.js"
import { identityOf } from "../../src/Handshake/internal/presented.js"
import type * as TlsAcceptor from "../../src/Handshake/TlsAcceptor.js"
import * as TlsHandshake from "../../src/Handshake/TlsHandshake.js"
import { HandshakeFailed, type HandshakeReason, Unavailable } from "../../src/Transport/TransportError.js"
import { acceptor, connect, event, eventually, failure, listen, reasonOf, secure } from "../fixtures/tls.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"

/** A TLS server of Node, as others run it. */
const nodeServer = (options: tls.TlsOptions) =>
  Effect.gen(function* () {
    const server = tls.createServer({ ALPNProtocols: ["h2"], ...options }, (socket) => socket.on("error", () => {}))
    server.on("tlsClientError", (_, socket) => socket.destroy())
    return yield* listen((socket) => server.emit("connection", socket))
  })

const fingerprintOf = ({ cert }: DevCa.Issued) =>
  Option.getOrThrow(rawMaterial({ cert, key: Redacted.make("") }).certificate).identity.fingerprint

const asTls = (socket: net.Socket): tls.TLSSocket => {
  if (!(socket instanceof tls.TLSSocket)) {
    throw new Error("no TLS socket")
  }
  return socket
}

describe("both sides agree", () => {
  it.scopedLive("and know each other", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const client = yield* secure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      expect(Option.getOrThrow(client.identity).fingerprint).toBe(fingerprintOf(pki.good))
      expect(asTls(client.socket).getProtocol()).toBe("TLSv1.3")
      expect(asTls(client.socket).alpnProtocol).toBe("h2")
      yield* eventually(() => server.secured.length === 1)
      const [there] = server.secured
      const identity = Option.getOrThrow(Option.flatMap(Option.fromNullable(there), (one) => one.identity))
      expect(identity.fingerprint).toBe(fingerprintOf(pki.client))
      expect(identity.spiffeId).toEqual(Option.some("spiffe://mesh/client"))
      expect(server.refused).toEqual([])
      expect(client.refusal()).toEqual(Option.none())
    })
  )

  it.scopedLive("and HTTP/2 runs on the sockets, also when it begins later", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const h2 = http2.createServer((_, response) => response.end("hello"))
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), {
        onSecure: ({ socket }) => h2.emit("connection", socket)
      })
      const { socket } = yield* secure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      // The server's SETTINGS are here before the client's session is.
      yield* event(socket, "readable")
      const body = yield* Effect.async<string>((resume) => {
        const session = http2.connect("https://localhost", { createConnection: () => socket })
        const stream = session.request({ ":path": "/" })
        let text = ""
        stream.on("data", (chunk) => {
          text += String(chunk)
        })
        stream.on("end", () => {
          session.close()
          resume(Effect.succeed(text))
        })
      })
      expect(body).toBe("hello")
      yield* eventually(() => server.live() === 0)
    })
  )

  it.scopedLive("by address or name, and only a name goes into SNI", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      for (const nameWanted of ["localhost", "LOCALHOST", "127.0.0.1", "::1", "0:0:0:0:0:0:0:1"]) {
        yield* secure(server.port, rawMaterial(pki.client, pki.trusted.ca), { nameWanted })
      }
      yield* eventually(() => server.secured.length === 5)
      const names = server.secured.map(({ socket }) => Reflect.get(socket, "servername"))
      expect(names).toEqual(["localhost", "LOCALHOST", false, false, false])
    })
  )

  it.scopedLive("through an intermediate CA, on a unix socket", () =>
    Effect.gen(function* () {
      const DevCa = yield* Effect.promise(() => import("../../src/Credentials/DevCa.js"))
      const ca = yield* DevCa.make({ intermediate: true })
      const material = rawMaterial(yield* ca.issue({ names: ["localhost"] }), ca.ca)
      const dir = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "handshake-"))),
        (path) => Effect.promise(() => rm(path, { recursive: true }))
      )
      const path = join(dir, "socket")
      const server = yield* acceptor(material, { path })
      yield* secure(path, material)
      yield* eventually(() => server.secured.length === 1)
      yield* Effect.ignore(secure(path, rawMaterial(undefined, ca.ca)))
      yield* eventually(() => server.refused.length === 1)
      expect(server.refused[0]?.address).toBe("unix")
    })
  )

  it.scopedLive("without a client certificate where none is asked for", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), { clientCertificate: "none" })
      yield* secure(server.port, rawMaterial(undefined, pki.trusted.ca))
      yield* eventually(() => server.secured.length === 1)
      expect(server.secured[0]?.identity).toEqual(Option.none())
    })
  )

  it.scopedLive("anew each time: sessions are not resumed", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const reused: Array<boolean> = []
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), {
        onSecure: ({ socket }) => reused.push(asTls(socket).isSessionReused())
      })
      for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
        const options: tls.ConnectionOptions = {
          ...contextOptions(rawMaterial(pki.client, pki.trusted.ca)),
          secureOptions: 0,
          maxVersion: version,
          port: server.port,
          servername: "localhost",
          ALPNProtocols: ["h2"]
        }
        const handshake = (session?: Buffer) =>
          Effect.async<Buffer | undefined>((resume) => {
            const socket = tls.connect({ ...options, ...(session === undefined ? {} : { session }) })
            const done = (received: Buffer | undefined) => {
              socket.destroy()
              resume(Effect.succeed(received))
            }
            if (version === "TLSv1.3") {
              socket.once("session", done)
            } else {
              socket.once("secureConnect", () => done(socket.getSession()))
            }
          })
        yield* Effect.flatMap(handshake(), handshake)
      }
      yield* eventually(() => reused.length === 4)
      expect(reused).toEqual([false, false, false, false])
    })
  )

  it.scopedLive("and who asks twice for the identity gets it twice", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const { identity, socket } = yield* secure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      // What it was verified to is nothing that it shows.
      const shown = Option.map(identity, (identity) => ({ ...identity, trustAnchor: Option.none() }))
      expect(identityOf(asTls(socket))).toEqual(shown)
      expect(identityOf(asTls(socket))).toEqual(shown)
      socket.destroy()
      expect(identityOf(asTls(socket))).toEqual(Option.none())
    })
  )
})

describe("the client refuses", () => {
  type Pki = Effect.Effect.Success<typeof authority>
  const table: ReadonlyArray<readonly [string, (pki: Pki) => DevCa.Issued, HandshakeReason]> = [
    ["another CA", (pki) => pki.untrusted, "UntrustedIssuer"],
    ["a certificate that signed itself", (pki) => pki.selfSigned, "UntrustedIssuer"],
    ["an expired certificate", (pki) => pki.expired, "Expired"],
    ["a certificate not yet valid", (pki) => pki.notYetValid, "NotYetValid"],
    ["a certificate for clients", (pki) => pki.clientOnly, "InvalidPurpose"],
    ["another name", (pki) => pki.otherName, "NameMismatch"]
  ]
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    it.scopedLive.each(table)(`%s (${maxVersion})`, ([_, pick, reason]) =>
      Effect.gen(function* () {
        const pki = yield* authority
        const shown = rawMaterial(pick(pki), pki.trusted.ca)
        const server = yield* nodeServer({ ...contextOptions(shown), maxVersion })
        const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca))
        expect(reasonOf(error)).toEqual([reason, "local"])
        const { identity } = Option.getOrThrow(shown.certificate)
        expect(error).toMatchObject({
          fingerprint: identity.fingerprint,
          notAfter: identity.notAfter,
          nameWanted: "localhost",
          peer: "peer:1"
        })
        yield* eventually(() => server.live() === 0)
      })
    )
  }

  it.scopedLive("the wrong address", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      for (const nameWanted of ["127.0.0.2", "::2", "", "localhost.example", "*"]) {
        const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca), { nameWanted })
        expect([nameWanted, ...reasonOf(error)]).toEqual([nameWanted, "NameMismatch", "local"])
        expect(error).toMatchObject({ nameWanted })
      }
    })
  )

  it.scopedLive("everybody, where it trusts nobody: the system's CAs do not count", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const error = yield* failure(server.port, rawMaterial(pki.client))
      expect(reasonOf(error)).toEqual(["UntrustedIssuer", "local"])
    })
  )

  it.scopedLive("also when the environment tells Node not to", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.untrusted, pki.trusted.ca))
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"
        }),
        () =>
          Effect.sync(() => {
            delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
          })
      )
      const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      expect(reasonOf(error)).toEqual(["UntrustedIssuer", "local"])
    })
  )

  it.scopedLive("and the server counts it, with the address, as broken off", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.untrusted, pki.trusted.ca))
      yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      yield* eventually(() => server.refused.length === 1)
      const [refusal] = server.refused
      expect(refusal?.error).toMatchObject({ reason: "Refused", refusedBy: "remote" })
      expect(refusal?.address).toMatch(/^127\.0\.0\.1:\d+$/)
      expect(refusal?.socket).toBeUndefined()
      yield* eventually(() => server.live() === 0)
    })
  )
})

describe("the server refuses", () => {
  type Pki = Effect.Effect.Success<typeof authority>
  const table: ReadonlyArray<readonly [string, (pki: Pki) => DevCa.Issued | undefined, HandshakeReason]> = [
    ["no certificate", () => undefined, "CertificateRequired"],
    ["another CA", (pki) => pki.untrusted, "UntrustedIssuer"],
    ["a certificate that signed itself", (pki) => pki.selfSigned, "UntrustedIssuer"],
    ["an expired certificate", (pki) => pki.expired, "Expired"],
    ["a certificate not yet valid", (pki) => pki.notYetValid, "NotYetValid"],
    ["a certificate for servers", (pki) => pki.serverOnly, "InvalidPurpose"]
  ]
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    it.scopedLive.each(table)(`%s, and can say so (${maxVersion})`, ([_, pick, reason]) =>
      Effect.gen(function* () {
        const pki = yield* authority
        const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), {
          onRefused: (refusal) => {
            refused.push(refusal)
            refusal.socket?.end("farewell")
          }
        })
        const refused: Array<TlsAcceptor.Refusal> = []
        const issued = pick(pki)
        const text = yield* Effect.async<string>((resume) => {
          let received = ""
          const socket = tls.connect({
            ...contextOptions(rawMaterial(issued, pki.trusted.ca)),
            port: server.port,
            servername: "localhost",
            ALPNProtocols: ["h2"],
            maxVersion
          })
          // What the client sends before it knows must not cost it the farewell.
          socket.write(Buffer.alloc(100_000))
          socket.on("data", (chunk) => {
            received += String(chunk)
          })
          socket.on("error", (error) => resume(Effect.succeed(error.message)))
          socket.on("end", () => resume(Effect.succeed(received)))
        })
        expect(text).toBe("farewell")
        expect(server.secured).toEqual([])
        expect(refused.length).toBe(1)
        expect(refused[0]?.error).toMatchObject({ reason, refusedBy: "local", peer: refused[0]?.address })
        expect(refused[0]?.error.fingerprint).toBe(issued === undefined ? undefined : fingerprintOf(issued))
        expect(refused[0]?.address).toMatch(/^127\.0\.0\.1:\d+$/)
        yield* eventually(() => server.live() === 0)
      })
    )
  }

  it.scopedLive("and closes the socket when nobody does", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), { handshakeTimeoutMillis: 200 })
      const { socket } = yield* secure(server.port, rawMaterial(pki.untrusted, pki.trusted.ca))
      socket.resume()
      yield* event(socket, "close")
      expect(server.refused.length).toBe(1)
      yield* eventually(() => server.live() === 0)
    })
  )

  const silent: ReadonlyArray<readonly [string, (socket: net.Socket) => unknown]> = [
    ["who says nothing", () => {}],
    [
      "who drips bytes",
      (socket) => {
        const hello = Buffer.from("16030100f8010000f40303", "hex")
        let sent = 0
        const timer = setInterval(() => socket.write(hello.subarray(sent, ++sent)), 40)
        socket.on("close", () => clearInterval(timer))
      }
    ]
  ]
  it.scopedLive.each(silent)("%s, when the time is over", ([_, act]) =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), { handshakeTimeoutMillis: 250 })
      const socket = yield* connect(server.port)
      act(socket)
      const [duration] = yield* Effect.timed(event(socket, "close"))
      expect(duration).toSatisfy(() => server.refused.length === 1)
      expect(server.refused[0]?.error).toMatchObject({ reason: "Refused", refusedBy: "local" })
      expect(server.refused[0]?.error.message).toContain("ERR_TLS_HANDSHAKE_TIMEOUT")
      yield* eventually(() => server.live() === 0)
    })
  )

  it.scopedLive("but not the ones that come later, in their own time", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const material = rawMaterial(pki.good, pki.trusted.ca)
      const server = yield* acceptor(material, { handshakeTimeoutMillis: 1500 })
      const early = yield* connect(server.port)
      const { socket } = yield* secure(server.port, material)
      // When the time of this one is over, that of the handshake before it is too.
      const late = yield* connect(server.port)
      yield* Effect.all([event(early, "close"), event(late, "close")], { concurrency: "unbounded" })
      expect(socket.destroyed).toBe(false)
      expect(server.refused.length).toBe(2)
    })
  )

  const strangers: ReadonlyArray<readonly [string, (socket: net.Socket) => unknown, HandshakeReason, string]> = [
    ["HTTP/1", (socket) => socket.write("GET / HTTP/1.1\r\n\r\n"), "NoCommonProtocol", "local"],
    ["HTTP/2 without TLS", (socket) => socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "NoCommonProtocol", "local"],
    ["zeros", (socket) => socket.write(Buffer.alloc(100)), "NoCommonProtocol", "local"],
    ["an alert", (socket) => socket.write(Buffer.from([0x15, 3, 1, 0, 2, 2, 48])), "NoCommonProtocol", "local"],
    ["who hangs up", (socket) => socket.end(), "Refused", "remote"],
    ["who hangs up in the middle", (socket) => socket.end(Buffer.from("16030100f801", "hex")), "Refused", "remote"],
    ["who resets", (socket) => socket.resetAndDestroy(), "Refused", "remote"]
  ]
  it.scopedLive.each(strangers)("a stranger: %s", ([_, act, reason, refusedBy]) =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const socket = yield* connect(server.port)
      act(socket)
      yield* eventually(() => server.refused.length === 1 && server.live() === 0)
      expect(server.refused[0]?.error).toMatchObject({ reason, refusedBy })
      expect(server.refused[0]?.address).toMatch(/^127\.0\.0\.1:\d+$/)
      expect(server.refused[0]?.socket).toBeUndefined()
    })
  )
})

describe("no common protocol", () => {
  it.scopedLive("when the client offers another one", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca), { alpnProtocols: ["other/1"] })
      expect(reasonOf(error)).toEqual(["NoCommonProtocol", "remote"])
      yield* eventually(() => server.refused.length === 1 && server.live() === 0)
      expect(server.refused[0]?.error).toMatchObject({ reason: "NoCommonProtocol", refusedBy: "local" })
    })
  )

  it.scopedLive("when the client offers none", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const socket = tls.connect({
        ...contextOptions(rawMaterial(pki.client, pki.trusted.ca)),
        port: server.port,
        servername: "localhost"
      })
      socket.on("error", () => {})
      yield* event(socket, "close")
      expect(server.secured).toEqual([])
      expect(server.refused[0]?.error).toMatchObject({ reason: "NoCommonProtocol", refusedBy: "local" })
      yield* eventually(() => server.live() === 0)
    })
  )

  it.scopedLive("when the server takes none", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* nodeServer({
        ...contextOptions(rawMaterial(pki.good, pki.trusted.ca)),
        ALPNProtocols: undefined
      })
      const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      expect(reasonOf(error)).toEqual(["NoCommonProtocol", "local"])
      yield* eventually(() => server.live() === 0)
    })
  )

  it.scopedLive("when the server is older than TLS 1.2", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* nodeServer({
        ...contextOptions(rawMaterial(pki.good, pki.trusted.ca)),
        minVersion: "TLSv1.1",
        maxVersion: "TLSv1.1",
        ciphers: "DEFAULT:@SECLEVEL=0"
      })
      const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      expect(reasonOf(error)).toEqual(["NoCommonProtocol", "remote"])
      yield* eventually(() => server.live() === 0)
    })
  )

  const strangers: ReadonlyArray<readonly [string, (socket: net.Socket) => unknown]> = [
    ["HTTP/1", (socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))],
    ["HTTP/2 without TLS", (socket) => socket.resume().write(Buffer.from("000000040000000000", "hex"))],
    ["SSH", (socket) => socket.resume().write("SSH-2.0-OpenSSH_9.6\r\n")],
    ["an echo", (socket) => socket.pipe(socket)]
  ]
  it.scopedLive.each(strangers)("when the server is %s", ([_, act]) =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* listen(act)
      const error = yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      expect(reasonOf(error)).toEqual(["NoCommonProtocol", "local"])
      yield* eventually(() => server.live() === 0)
    })
  )
})

describe("the peer goes away", () => {
  const table: ReadonlyArray<readonly [string, (socket: net.Socket) => unknown, ReadonlyArray<string>]> = [
    ["at once", (socket) => socket.resume().end(), ["Unavailable", "no"]],
    ["after the client spoke", (socket) => socket.once("data", () => socket.end()), ["Unavailable", "no"]],
    ["with a reset", (socket) => socket.once("data", () => socket.resetAndDestroy()), ["Unavailable", "no"]],
    [
      "in the middle of its answer",
      (socket) => socket.once("data", () => socket.end(Buffer.from("160303007a02", "hex"))),
      ["Refused", "remote"]
    ],
    [
      "with a close_notify",
      (socket) => socket.once("data", () => socket.end(Buffer.from([0x15, 3, 3, 0, 2, 1, 0]))),
      ["Refused", "remote"]
    ]
  ]
  it.scopedLive.each(table)("%s", ([_, act, expected]) =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* listen(act)
      expect(reasonOf(yield* failure(server.port, rawMaterial(pki.client, pki.trusted.ca)))).toEqual(expected)
      yield* eventually(() => server.live() === 0)
    })
  )

  it.scopedLive("before the handshake is asked for", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* listen((socket) => socket.resume())
      const socket = yield* connect(server.port)
      socket.destroy()
      const options = { nameWanted: "localhost", alpnProtocols: ["h2"], peer: "peer:1" }
      const material = rawMaterial(pki.client, pki.trusted.ca)
      const error = yield* Effect.flip(TlsHandshake.connectSecure(socket, { material, ...options }))
      expect(reasonOf(error)).toEqual(["Unavailable", "no"])
    })
  )
})

describe("a client that connects by itself and reads by a callback", () => {
  const options = { nameWanted: "localhost", alpnProtocols: ["h2"], peer: "peer:1" }

  it.scopedLive("reads what came before it was ready to, and then what comes", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), {
        onSecure: ({ socket }) => {
          socket.write("early")
          socket.on("data", (chunk) => socket.end(chunk))
        }
      })
      const material = rawMaterial(pki.client, pki.trusted.ca)
      const { identity, read, socket } = yield* TlsHandshake.connect(
        { host: "localhost", port: server.port },
        { material, ...options }
      )
      expect(Option.getOrThrow(identity).fingerprint).toBe(fingerprintOf(pki.good))
      yield* eventually(() => socket.bytesRead === "early".length)
      let received = ""
      read((chunk) => {
        received += chunk.toString()
      })
      expect(received).toBe("early")
      socket.write(", late")
      yield* event(socket, "end")
      expect(received).toBe("early, late")
    })
  )

  it.scopedLive("does not take more than a little before it is ready to read", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const flood = Buffer.alloc(8 * 1024 * 1024, 7)
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), {
        onSecure: ({ socket }) => {
          socket.end(flood)
        }
      })
      const { read, socket } = yield* TlsHandshake.connect(
        { host: "127.0.0.1", port: server.port },
        { material: rawMaterial(pki.client, pki.trusted.ca), ...options }
      )
      yield* eventually(() => socket.bytesRead > 0)
      const turn = Effect.async<void>((resume) => {
        setImmediate(() => resume(Effect.void))
      })
      yield* Effect.repeatN(turn, 200)
      expect(socket.bytesRead).toBeLessThanOrEqual(256 * 1024)
      let received = 0
      read((chunk) => {
        received += chunk.length
      })
      yield* event(socket, "end")
      expect(received).toBe(flood.length)
    })
  )

  it.scopedLive("is told what went wrong, before, at and within the handshake, and leaves nothing open", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const material = rawMaterial(pki.client, pki.trusted.ca)
      const failureAt = (port: number) =>
        Effect.flip(TlsHandshake.connect({ host: "127.0.0.1", port }, { material, ...options }))
      const closed = yield* Effect.scoped(listen(() => {}))
      const nobody = yield* failureAt(closed.port)
      expect(reasonOf(nobody)).toEqual(["Unavailable", "no"])
      expect(nobody.message).toContain("can't connect to peer:1: connect ECONNREFUSED")

      const silent = yield* listen((socket) => socket.once("data", () => socket.end()))
      const unanswered = yield* failureAt(silent.port)
      expect(reasonOf(unanswered)).toEqual(["Unavailable", "no"])
      expect(unanswered.message).toContain("before TLS began")

      const partial = yield* listen((socket) =>
        socket.once("data", () => socket.end(Buffer.from("16030300640200", "hex")))
      )
      expect(reasonOf(yield* failureAt(partial.port))).toEqual(["Refused", "remote"])

      const stranger = yield* nodeServer(contextOptions(rawMaterial(pki.untrusted, pki.trusted.ca)))
      expect(reasonOf(yield* failureAt(stranger.port))).toEqual(["UntrustedIssuer", "local"])
      yield* eventually(() => [silent, partial, stranger].every(({ live }) => live() === 0))
    })
  )

  it.scopedLive("is closed with its scope, and when it is interrupted", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const material = rawMaterial(pki.client, pki.trusted.ca)
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca), {
        onSecure: ({ socket }) => socket.resume()
      })
      yield* Effect.scoped(TlsHandshake.connect({ host: "127.0.0.1", port: server.port }, { material, ...options }))
      yield* eventually(() => server.live() === 0)
      const mute = yield* listen((socket) => socket.resume())
      const fiber = yield* Effect.fork(
        Effect.scoped(TlsHandshake.connect({ host: "127.0.0.1", port: mute.port }, { material, ...options }))
      )
      yield* eventually(() => mute.live() === 1)
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      yield* eventually(() => mute.live() === 0)
    })
  )
})

describe("interruption", () => {
  it.scopedLive("destroys the socket", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* listen((socket) => socket.resume())
      const fiber = yield* Effect.fork(secure(server.port, rawMaterial(pki.client, pki.trusted.ca)))
      yield* eventually(() => server.live() === 1)
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(exit)).toBe(true)
      yield* eventually(() => server.live() === 0)
    })
  )
})

describe("setMaterial", () => {
  it.scopedLive("is what the next handshakes use, and a bad one changes nothing", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const before = yield* secure(server.port, rawMaterial(pki.client, pki.trusted.ca))
      server.setMaterial(rawMaterial(pki.untrusted, pki.other.ca))
      const after = yield* secure(server.port, rawMaterial(pki.untrusted, pki.other.ca))
      expect(Option.getOrThrow(after.identity).fingerprint).toBe(fingerprintOf(pki.untrusted))
      expect(before.socket.destroyed).toBe(false)
      const mismatched = rawMaterial({ cert: pki.good.cert, key: pki.client.key }, pki.trusted.ca)
      expect(() => server.setMaterial(mismatched)).toThrow()
      const still = yield* secure(server.port, rawMaterial(pki.untrusted, pki.other.ca))
      expect(Option.getOrThrow(still.identity).fingerprint).toBe(fingerprintOf(pki.untrusted))
      yield* eventually(() => server.secured.length === 3)
    })
  )
})

describe("any bytes", () => {
  const bytes = FastCheck.oneof(
    FastCheck.uint8Array({ maxLength: 200 }),
    FastCheck.tuple(FastCheck.constantFrom(0x14, 0x15, 0x16, 0x17), FastCheck.uint8Array({ maxLength: 100 })).map(
      ([type, body]) => Buffer.concat([Buffer.from([type, 3, 3, 0, body.length]), body])
    )
  )

  it.scopedLive("from a client are one refusal", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      let sent = 0
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(bytes, (data) =>
            Effect.gen(function* () {
              const socket = yield* connect(server.port)
              socket.end(data)
              socket.resume()
              sent += 1
              yield* eventually(() => server.refused.length === sent && server.live() === 0)
            }).pipe(Effect.scoped, Effect.runPromise)
          ),
          { numRuns: 200 }
        )
      )
      expect(server.secured).toEqual([])
    })
  )

  it.scopedLive("from a server are a failure", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const material = rawMaterial(pki.client, pki.trusted.ca)
      let answer: Uint8Array = randomBytes(10)
      const server = yield* listen((socket) => socket.once("data", () => socket.end(answer)))
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(bytes, (data) => {
            answer = data
            return Effect.runPromise(Effect.scoped(failure(server.port, material))).then((error) => {
              expect(error instanceof HandshakeFailed || error instanceof Unavailable).toBe(true)
            })
          }),
          { numRuns: 200 }
        )
      )
      yield* eventually(() => server.live() === 0)
    })
  )
})
