import * as Http from "node:http"
import * as Tls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as GrpcJs from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { type Credentials, Transport, type TransportError, TransportMetrics } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import * as Foreign from "../fixtures/foreign.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { event, listen } from "../fixtures/tls.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const certificates = await Effect.runPromise(authority)
const { trusted, other, good } = certificates
const goodMaterial = rawMaterial(good, trusted.ca)

const refusals = (reason: TransportError.HandshakeReason) =>
  Effect.map(Metric.value(Metric.tagged(TransportMetrics.handshakesRefused, "reason", reason)), ({ count }) => count)

describeEngines(({ on }) => {
  /** The error of a client that can't connect. */
  const refused = (target: string, material: Credentials.Material) =>
    within(Effect.flip(on(material)(Transport.client(EchoService, target))), "5 seconds")

  /** A listener of ours that fails the test where a handler runs, unless a good client calls. */
  const listener = (material: Credentials.Material) =>
    Effect.gen(function* () {
      const log = yield* captureLog
      const calls: Array<string> = []
      const { target } = yield* on(material)(
        Transport.listen([echoHandlers({ echo: ({ message }) => Effect.sync(() => ({ index: calls.push(message) })) })])
      ).pipe(Effect.provide(log.layer))
      return {
        target,
        calls,
        warnings: () => log.lines.filter(({ level }) => level === "WARN").map(({ text }) => text)
      }
    })

  describe("a certificate of the server that the client does not accept", () => {
    const cases = [
      ["from another CA", certificates.untrusted, "UntrustedIssuer"],
      ["signed by itself", certificates.selfSigned, "UntrustedIssuer"],
      ["that has expired", certificates.expired, "Expired"],
      ["that is not valid yet", certificates.notYetValid, "NotYetValid"],
      ["for clients only", certificates.clientOnly, "InvalidPurpose"],
      ["for another name", certificates.otherName, "NameMismatch"]
    ] as const

    it.live.each(cases)("%s", ([, certificate, reason]) =>
      leavesNothing(
        Effect.gen(function* () {
          const ours = yield* listener(rawMaterial(certificate, trusted.ca, other.ca))
          const theirs = yield* Foreign.server(Foreign.handlers, { ca: trusted.ca, issued: certificate })
          for (const { target } of [ours, theirs]) {
            expect(yield* refused(target, goodMaterial)).toMatchObject({
              _tag: "HandshakeFailed",
              reason,
              refusedBy: "local",
              peer: target,
              fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
              notAfter: expect.any(Date),
              nameWanted: "127.0.0.1"
            })
          }
          expect(ours.calls).toEqual([])
        })
      )
    )
  })

  describe("a certificate of the client that the server does not accept", () => {
    const cases = [
      ["none", undefined, "CertificateRequired"],
      ["from another CA", certificates.untrusted, "UntrustedIssuer"],
      ["signed by itself", certificates.selfSigned, "UntrustedIssuer"],
      ["that has expired", certificates.expired, "Expired"],
      ["that is not valid yet", certificates.notYetValid, "NotYetValid"],
      ["for servers only", certificates.serverOnly, "InvalidPurpose"]
    ] as const

    it.live.each(cases)("%s", ([, certificate, reason]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { target, calls, warnings } = yield* listener(goodMaterial)
          const bystander = yield* on(goodMaterial)(Transport.client(EchoService, target))
          const before = yield* refusals(reason)
          expect(yield* refused(target, rawMaterial(certificate, trusted.ca))).toMatchObject({
            _tag: "HandshakeFailed",
            reason,
            refusedBy: "remote",
            peer: target
          })
          yield* eventually(Effect.map(refusals(reason), (count) => expect(count).toBe(before + 1)))
          expect(warnings()).toEqual([expect.stringMatching(/^refused 127\.0\.0\.1:\d+: /)])
          yield* bystander.echo({ message: "bystander" })
          expect(calls).toEqual(["bystander"])
        })
      )
    )

    it.live.each(cases)("%s, at a server that hangs up without a word", ([, certificate]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { target } = yield* Foreign.server(Foreign.handlers, { ca: trusted.ca, issued: good })
          expect(yield* refused(target, rawMaterial(certificate, trusted.ca))).toMatchObject({
            _tag: "HandshakeFailed",
            reason: certificate === undefined ? "CertificateRequired" : "Refused",
            refusedBy: "remote",
            peer: target
          })
        })
      )
    )

    it.live.each(cases)("%s, of a client on plain grpc-js", ([, certificate, reason]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { target, calls } = yield* listener(goodMaterial)
          const before = yield* refusals(reason)
          const client = yield* Foreign.client(target, { ca: trusted.ca, issued: certificate })
          const { status } = yield* Foreign.outcome((callback) =>
            client.echo({}, new GrpcJs.Metadata(), { deadline: Date.now() + 3000 }, callback)
          )
          // Which of the two it sees first: the end of the connection, or the GOAWAY (INADEQUATE_SECURITY) that says why.
          expect([GrpcJs.status.UNAVAILABLE, GrpcJs.status.PERMISSION_DENIED]).toContain(status.code)
          expect(yield* refusals(reason)).toBeGreaterThan(before)
          expect(calls).toEqual([])
        })
      )
    )
  })

  describe("peers that speak something else", () => {
    it.live("a client without TLS at a listener with TLS", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target, calls, warnings } = yield* listener(goodMaterial)
          const before = yield* refusals("NoCommonProtocol")
          expect(yield* refused(target, insecure)).toMatchObject({
            _tag: "HandshakeFailed",
            reason: "NoCommonProtocol",
            peer: target
          })
          expect(yield* refusals("NoCommonProtocol")).toBe(before + 1)
          expect(warnings()).toHaveLength(1)
          expect(calls).toEqual([])
        })
      )
    )

    it.live("a client with TLS at a listener without", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target } = yield* listener(insecure)
          expect(yield* refused(target, goodMaterial)).toMatchObject({
            _tag: "HandshakeFailed",
            reason: "NoCommonProtocol",
            refusedBy: "local",
            peer: target
          })
        })
      )
    )

    it.live("a server of HTTP/1.1, with and without TLS", () =>
      leavesNothing(
        Effect.gen(function* () {
          const http = Http.createServer((_, response) => response.end("hello"))
          const plain = yield* listen((socket) => http.emit("connection", socket))
          expect(yield* refused(`127.0.0.1:${plain.port}`, insecure)).toMatchObject({
            _tag: "HandshakeFailed",
            reason: "NoCommonProtocol"
          })
          const context = { cert: good.cert, key: Redacted.value(good.key), ca: trusted.ca }
          for (const ALPNProtocols of [["http/1.1"], undefined]) {
            const server = Tls.createServer({ ...context, ...(ALPNProtocols === undefined ? {} : { ALPNProtocols }) })
            server.on("secureConnection", (socket) => socket.on("error", () => {}))
            const secure = yield* listen((socket) => server.emit("connection", socket))
            expect(yield* refused(`127.0.0.1:${secure.port}`, goodMaterial)).toMatchObject({
              _tag: "HandshakeFailed",
              reason: "NoCommonProtocol"
            })
          }
        })
      )
    )

    it.live("a server that greets in its own way", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { port } = yield* listen((socket) => socket.write("SSH-2.0-OpenSSH_9.9\r\n"))
          for (const material of [insecure, goodMaterial]) {
            expect(yield* refused(`127.0.0.1:${port}`, material)).toMatchObject({
              _tag: "HandshakeFailed",
              reason: "NoCommonProtocol",
              peer: `127.0.0.1:${port}`
            })
          }
        })
      )
    )

    it.live("a client that offers only HTTP/1.1", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target, calls } = yield* listener(goodMaterial)
          const before = yield* refusals("NoCommonProtocol")
          const socket = Tls.connect({
            host: "127.0.0.1",
            port: Number(target.split(":")[1]),
            ca: trusted.ca,
            cert: good.cert,
            key: Redacted.value(good.key),
            ALPNProtocols: ["http/1.1"]
          })
          socket.on("error", () => {})
          yield* event(socket, "close")
          expect(yield* refusals("NoCommonProtocol")).toBe(before + 1)
          expect(calls).toEqual([])
        })
      )
    )
  })

  describe("a connection that was fine and can't be made again", () => {
    it.live("fails its calls with what keeps it from being made, until that is mended", () =>
      leavesNothing(
        Effect.gen(function* () {
          const serve = (material: Credentials.Material, port = 0) =>
            on(material)(Transport.listen([echoHandlers()], { port }))
          const open = on(goodMaterial, { initialReconnectBackoff: "20 millis", maxReconnectBackoff: "50 millis" })
          const first = yield* Scope.make()
          const { address, target } = yield* Scope.extend(serve(goodMaterial), first)
          const client = yield* open(Transport.client(EchoService, target))
          expect((yield* client.echo({ message: "before" })).message).toBe("before")
          yield* Scope.close(first, Exit.void)
          const second = yield* Scope.make()
          yield* Scope.extend(serve(rawMaterial(certificates.untrusted, trusted.ca), address.port), second)
          yield* eventually(
            Effect.map(Effect.either(client.echo({})), (result) =>
              expect(result).toMatchObject({
                left: {
                  _tag: "HandshakeFailed",
                  reason: "UntrustedIssuer",
                  refusedBy: "local",
                  peer: target,
                  method: "/echo.v1.EchoService/Echo",
                  message: expect.stringContaining("does not lead to a trusted CA")
                }
              })
            )
          )
          yield* Scope.close(second, Exit.void)
          yield* serve(goodMaterial, address.port)
          yield* eventually(
            Effect.map(Effect.either(client.echo({ message: "after" })), (answer) =>
              expect(answer).toMatchObject({ right: { message: "after" } })
            )
          )
        })
      )
    )
  })
})
