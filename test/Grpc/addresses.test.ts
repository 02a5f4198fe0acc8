import { X509Certificate } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { DevCa, type Peer, Transport } from "effect-transport"
import { child } from "../fixtures/child.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import * as Foreign from "../fixtures/foreign.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import type { Source } from "../fixtures/grpcEngines.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

const ca = await Effect.runPromise(DevCa.make())
const names = ["localhost", "127.0.0.1", "::1"]
const [server, alice, bob] = await Effect.runPromise(
  Effect.all([
    ca.issue({ names, spiffeId: "spiffe://mesh/server" }),
    ca.issue({ names: ["alice.example", "10.1.2.3"], spiffeId: "spiffe://mesh/alice", commonName: "alice" }),
    ca.issue({ names: ["bob.example"], usages: ["client"], commonName: "bob" })
  ])
)
const served = rawMaterial(server, ca.ca)

const fingerprintOf = ({ cert }: DevCa.Issued) =>
  new X509Certificate(cert).fingerprint256.replaceAll(":", "").toLowerCase()

const hasIpv6 = Object.values(Os.networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"))

describeEngines(({ name: engine, on }) => {
  /** A listener that tells who calls. */
  const listening = (options: Transport.ListenOptions, material: Source = served) =>
    Effect.gen(function* () {
      const peers = yield* Queue.unbounded<Peer.Peer>()
      const listener = yield* on(material)(
        Transport.listen([echoHandlers({ echo: (_, { peer }) => Effect.as(Queue.offer(peers, peer), {}) })], options)
      )
      return { ...listener, peer: Queue.take(peers) }
    })

  const call = (target: string, issued: DevCa.Issued) =>
    Effect.flatMap(on(rawMaterial(issued, ca.ca))(Transport.client(EchoService, target)), (client) => client.echo({}))

  const directory = Effect.acquireRelease(
    Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "transport-"))),
    (directory) => Effect.promise(() => Fs.rm(directory, { recursive: true }))
  )

  const isAlice = (peer: Peer.Peer) => {
    const identity = Option.getOrThrow(peer.identity)
    expect(identity).toMatchObject({
      fingerprint: fingerprintOf(alice),
      subject: "CN=alice",
      subjectAltNames: ["DNS:alice.example", "IP Address:10.1.2.3", "URI:spiffe://mesh/alice"],
      spiffeId: Option.some("spiffe://mesh/alice"),
      notAfter: new Date(new X509Certificate(alice.cert).validTo)
    })
  }

  const isBob = (peer: Peer.Peer) =>
    expect(Option.getOrThrow(peer.identity)).toMatchObject({
      fingerprint: fingerprintOf(bob),
      subject: "CN=bob",
      subjectAltNames: ["DNS:bob.example"],
      spiffeId: Option.none()
    })

  describe("a listener", () => {
    it.live("knows who calls, each by its own certificate", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { peer, target } = yield* listening({})
          yield* call(target, alice)
          const first = yield* peer
          yield* call(target, bob)
          const second = yield* peer
          isAlice(first)
          isBob(second)
          expect([first.address, second.address]).toEqual([
            expect.stringMatching(/^127\.0\.0\.1:\d+$/),
            expect.stringMatching(/^127\.0\.0\.1:\d+$/)
          ])
          expect(first.address).not.toBe(second.address)
        })
      )
    )

    it.live("knows who calls on a unix socket, where all have the same address", () =>
      leavesNothing(
        Effect.gen(function* () {
          const path = Path.join(yield* directory, "node.sock")
          const { address, peer, target } = yield* listening({ path })
          expect(address).toEqual({ host: "", port: 0, path })
          expect(target).toBe(`unix:${path}`)
          const clients = yield* Effect.forEach([alice, bob, alice], (issued) =>
            on(rawMaterial(issued, ca.ca))(Transport.client(EchoService, target))
          )
          const peers = yield* Effect.forEach(clients, (client) => Effect.zipRight(client.echo({}), peer))
          const again = yield* Effect.forEach(clients, (client) => Effect.zipRight(client.echo({}), peer))
          for (const [first, second, third] of [peers, again]) {
            isAlice(first as Peer.Peer)
            isBob(second as Peer.Peer)
            isAlice(third as Peer.Peer)
          }
          expect(new Set(peers.map(({ address }) => address)).size).toBe(3)
          expect(peers.map(({ address }) => address)).toEqual(again.map(({ address }) => address))
          for (const { address } of peers) {
            expect(address).toMatch(/^unix/)
          }
          // A client that goes does not take another's name with it.
          yield* Effect.scoped(call(target, bob))
          isBob(yield* peer)
          yield* Effect.forEach(clients.slice(0, 1), (client) => client.echo({}))
          isAlice(yield* peer)
        })
      )
    )

    it.live("without TLS knows nobody", () =>
      leavesNothing(
        Effect.gen(function* () {
          const path = Path.join(yield* directory, "node.sock")
          for (const options of [{}, { path }]) {
            const { peer, target } = yield* listening(options, insecure)
            const client = yield* on(insecure)(Transport.client(EchoService, target))
            yield* client.echo({})
            const { address, identity } = yield* peer
            expect(Option.isNone(identity)).toBe(true)
            expect(address).toMatch("path" in options ? /^unix/ : /^127\.0\.0\.1:\d+$/)
          }
        })
      )
    )

    it.live("can be called by plain grpc-js on a unix socket, and calls it", () =>
      leavesNothing(
        Effect.gen(function* () {
          const home = yield* directory
          const side = { ca: ca.ca, issued: alice }
          const { peer, target } = yield* listening({ path: Path.join(home, "ours.sock") })
          const foreign = yield* Foreign.client(target, side)
          const { default: GrpcJs } = yield* Effect.promise(() => import("@grpc/grpc-js"))
          const { status } = yield* Foreign.outcome((callback) => foreign.echo({}, new GrpcJs.Metadata(), {}, callback))
          expect(status.code).toBe(0)
          isAlice(yield* peer)
          const path = Path.join(home, "theirs.sock")
          yield* Foreign.server(Foreign.handlers, { ca: ca.ca, issued: server }, { address: `unix:${path}` })
          const client = yield* on(served)(Transport.client(EchoService, `unix:${path}`))
          expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
          const absolute = yield* on(served)(Transport.client(EchoService, `unix://${path}`))
          expect((yield* absolute.echo({ message: "hello" })).message).toBe("hello")
        })
      )
    )

    it.live("removes its unix socket when it closes", () =>
      leavesNothing(
        Effect.gen(function* () {
          const path = Path.join(yield* directory, "node.sock")
          yield* Effect.scoped(listening({ path }))
          yield* Effect.scoped(listening({ path }))
          const error = yield* Effect.flip(on(served)(Transport.client(EchoService, `unix:${path}`)))
          expect(error).toMatchObject({ _tag: "Unavailable", processed: "no", peer: `unix:${path}` })
        })
      )
    )

    it.live.runIf(hasIpv6)("listens on and is called at IPv6 addresses", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address, peer, target } = yield* listening({ host: "::1" })
          expect(address).toEqual({ host: "::1", port: address.port })
          expect(target).toBe(`[::1]:${address.port}`)
          yield* call(target, alice)
          const caller = yield* peer
          isAlice(caller)
          expect(caller.address).toMatch(/^\[::1\]:\d+$/)
        })
      )
    )

    it.live("is called by name", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address, peer } = yield* listening({ host: "localhost" })
          yield* call(`localhost:${address.port}`, alice)
          isAlice(yield* peer)
        })
      )
    )

    it.live("is called by a name that is not its certificate's where the caller says which that is", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target } = yield* on(rawMaterial(alice, ca.ca))(Transport.listen([echoHandlers()]))
          const connect = (serverName?: string) =>
            Effect.either(on(served, { serverName })(Transport.client(EchoService, target)))
          expect(Either.getLeft(yield* connect())).toMatchObject({
            value: { _tag: "HandshakeFailed", reason: "NameMismatch" }
          })
          expect(Either.isRight(yield* connect("alice.example"))).toBe(true)
          expect(Either.isRight(yield* connect("10.1.2.3"))).toBe(true)
          expect(Either.getLeft(yield* connect("bob.example"))).toMatchObject({
            value: { _tag: "HandshakeFailed", reason: "NameMismatch", nameWanted: "bob.example" }
          })
        })
      )
    )
  })

  describe("a listener that can't listen", () => {
    const refused = (options: Transport.ListenOptions) =>
      Effect.flip(Effect.scoped(on(served)(Transport.listen([], options))))

    it.live("on a port that is taken", () =>
      leavesNothing(
        Effect.gen(function* () {
          const taken = Net.createServer()
          yield* Effect.acquireRelease(
            Effect.async<void>((resume) => {
              taken.listen(0, "127.0.0.1", () => resume(Effect.void))
            }),
            () => Effect.sync(() => taken.close())
          )
          const { port } = taken.address() as Net.AddressInfo
          expect(yield* refused({ port })).toMatchObject({
            _tag: "BindError",
            reason: "AddressInUse",
            address: `127.0.0.1:${port}`,
            message: expect.stringContaining("EADDRINUSE")
          })
        })
      )
    )

    it.live.each([
      ["at an address of another machine", { host: "192.0.2.1" }, "AddressNotAvailable", "192.0.2.1:0"],
      ["on a port out of range", { port: 70_000 }, "InvalidAddress", "127.0.0.1:70000"],
      ["on a port below zero", { port: -1 }, "InvalidAddress", "127.0.0.1:-1"],
      ["on half a port", { port: 80.5 }, "InvalidAddress", "127.0.0.1:80.5"],
      ["at a name that nobody has", { host: "no-such-host.invalid" }, "InvalidAddress", "no-such-host.invalid:0"],
      ["at what is no name", { host: "not a host" }, "InvalidAddress", "not a host:0"],
      // libuv says EACCES where bind(2) says ENOENT.
      ["in a directory that is not there", { path: "/no/such/node.sock" }, "AccessDenied", "unix:/no/such/node.sock"],
      ["where a file is already", { path: import.meta.filename }, "AddressInUse", `unix:${import.meta.filename}`],
      [
        "at a path that is too long",
        { path: `/tmp/${"x".repeat(200)}` },
        "InvalidAddress",
        expect.stringMatching(/^unix:/)
      ]
    ] as const)("%s", ([, options, reason, address]) =>
      leavesNothing(
        Effect.gen(function* () {
          expect(yield* refused(options)).toMatchObject({ _tag: "BindError", reason, address })
        })
      )
    )

    it.live("on a privileged port, as somebody without privileges", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const program = yield* child("bind", { engine, port: 1 })
          const said = JSON.parse(yield* program.line)
          // Some systems let everybody bind low ports.
          expect(said).toEqual({ tag: "BindError", reason: "AccessDenied", address: "127.0.0.1:1" })
          expect(yield* program.ended).toMatchObject({ code: 0 })
        })
      )
    )

    it.live("without a certificate", () =>
      leavesNothing(
        Effect.gen(function* () {
          const error = yield* Effect.flip(on(rawMaterial(undefined, ca.ca))(Transport.listen([], { port: 0 })))
          expect(error).toMatchObject({ _tag: "BindError", reason: "CredentialsRefused" })
        })
      )
    )
  })
})
