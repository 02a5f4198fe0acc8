/** What is connected to, by whatever name, on each wire; and why it could not be. */
import * as Dgram from "node:dgram"
import Dns from "node:dns"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterEach, describe, expect, it, vi } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { Credentials, DevCa, Quic, Tls, Transport, type TransportOptions } from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"

const hasIpv6 = Object.values(Os.networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"))

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(
  ca.issue({ names: ["localhost", "node.example", "xn--bcher-kva.example", "127.0.0.1", "::1"] })
)
const credentials = Layer.succeed(Credentials.Credentials, Credentials.make(rawMaterial(issued, ca.ca)))

interface Options extends Pick<TransportOptions.TransportOptions, "defaultTimeout"> {
  readonly connectTimeout?: Duration.DurationInput
  readonly serverName?: string
}

const wires: ReadonlyArray<
  readonly [
    name: string,
    layer: (options?: Options) => Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>
  ]
> = [
  ...grpcEngines.map(({ layer, name }) => [name, layer] as const),
  ...otherWires([
    ["TlsLive", Tls.layer],
    ["QuicLive", Quic.layer]
  ] as const)
]

const address = (text: string): Dns.LookupAddress => ({ address: text, family: Net.isIP(text) })

/** Has names mean what the test says; those that it does not know are nobody's. */
const names = (table: Record<string, () => Promise<ReadonlyArray<string>> | ReadonlyArray<string>>) => {
  const asked: Array<string> = []
  const lookup: unknown = async (name: string) => {
    asked.push(name)
    const found = table[name]
    if (found === undefined) {
      const error = new Error(`getaddrinfo ENOTFOUND ${name}`)
      throw Object.assign(error, { code: "ENOTFOUND", errno: -3008, syscall: "getaddrinfo", hostname: name })
    }
    return (await found()).map(address)
  }
  vi.spyOn(Dns.promises, "lookup").mockImplementation(lookup as typeof Dns.promises.lookup)
  return asked
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe.each(wires)("%s", (wire, layer) => {
  const run = <A, E>(options: Options, effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>) =>
    Effect.flatMap(Layer.build(Layer.orDie(Layer.provide(layer(options), credentials))), (context) =>
      Effect.provide(effect, context)
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))

  const test = (
    title: string,
    body: Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>,
    options: Options = {}
  ) => it.live(title, () => leavesNothing(run(options, body)))

  const listen = (options: Transport.ListenOptions = {}) =>
    Transport.listen([Transport.handlers(EchoService, echo)], options)

  const answers = (target: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const client = yield* Transport.client(EchoService, target)
        expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
      })
    )

  const fails = (target: string) => Effect.flip(Effect.scoped(Transport.client(EchoService, target)))

  /** A port on which nobody listens, at any address. */
  const unused = Effect.map(Effect.scoped(listen()), ({ address }) => address.port)

  /** An address that takes whatever comes and answers to nothing. */
  const blackHole = (host: string, port: number) =>
    wire === "QuicLive"
      ? Effect.acquireRelease(
          Effect.async<void>((resume) => {
            sockets.set(
              host,
              Dgram.createSocket("udp4").bind(port, host, () => resume(Effect.void))
            )
          }),
          () => Effect.sync(() => sockets.get(host)?.close())
        )
      : Effect.acquireRelease(
          Effect.async<Net.Server>((resume) => {
            const server = Net.createServer((socket) => socket.resume()).listen(port, host, () =>
              resume(Effect.succeed(server))
            )
          }),
          (server) => Effect.sync(() => server.close())
        )
  const sockets = new Map<string, Dgram.Socket>()

  describe("connects to", () => {
    test(
      "localhost on 127.0.0.1, in upper case, with a dot at its end, and below it",
      Effect.gen(function* () {
        const { address } = yield* listen({ host: "127.0.0.1" })
        for (const name of ["localhost", "LocalHost", "localhost."]) {
          yield* answers(`${name}:${address.port}`)
        }
        expect(yield* fails(`node.localhost:${address.port}`)).toMatchObject({
          _tag: "HandshakeFailed",
          reason: "NameMismatch",
          nameWanted: "node.localhost"
        })
      })
    )

    it.live.runIf(hasIpv6)("localhost on ::1 alone, whatever the table of hosts says", () =>
      leavesNothing(
        run(
          {},
          Effect.gen(function* () {
            const { address } = yield* listen({ host: "::1" })
            for (const table of [{ localhost: () => ["127.0.0.1"] }, { localhost: () => ["::1", "127.0.0.1"] }, {}]) {
              names(table)
              yield* answers(`localhost:${address.port}`)
            }
          })
        )
      )
    )

    test(
      "a name as resolvers, SNI and certificates know it",
      Effect.gen(function* () {
        const { address } = yield* listen()
        const asked = names({
          "node.example": () => ["127.0.0.1"],
          "node.example.": () => ["127.0.0.1"],
          "xn--bcher-kva.example": () => ["127.0.0.1"]
        })
        for (const name of ["node.example", "Node.Example", "node.example.", "bücher.example", "BÜCHER.example"]) {
          yield* answers(`${name}:${address.port}`)
        }
        yield* answers(`node.example:000${address.port}`)
        expect(new Set(asked)).toEqual(new Set(["node.example", "node.example.", "xn--bcher-kva.example"]))
      })
    )

    test(
      "a name with a dot at its end that only a table without such dots knows",
      Effect.gen(function* () {
        const { address } = yield* listen()
        names({ "node.example": () => ["127.0.0.1"] })
        yield* answers(`node.example.:${address.port}`)
      })
    )

    test(
      "an address in whatever form, and verifies that address",
      Effect.gen(function* () {
        const { address } = yield* listen()
        for (const host of ["127.1", "0x7f.0.0.1", "2130706433", "[::ffff:127.0.0.1]"]) {
          yield* answers(`${host}:${address.port}`)
        }
      })
    )

    it.live.runIf(hasIpv6)("an address with a zone, which is none of the certificate's", () =>
      leavesNothing(
        run(
          {},
          Effect.gen(function* () {
            const { address } = yield* listen({ host: "::1" })
            yield* answers(`[::1%lo]:${address.port}`)
            yield* answers(`[0:0:0:0:0:0:0:1]:${address.port}`)
          })
        )
      )
    )

    test(
      "the address that answers of those that a name has",
      Effect.gen(function* () {
        const { address } = yield* listen()
        names({ "node.example": () => ["127.0.0.5", "127.0.0.4", "127.0.0.3", "127.0.0.2", "127.0.0.1"] })
        yield* within(answers(`node.example:${address.port}`), "3 seconds")
        yield* blackHole("127.0.0.5", address.port)
        yield* blackHole("127.0.0.3", address.port)
        yield* within(answers(`node.example:${address.port}`), "3 seconds")
      })
    )

    it.live.runIf(wire !== "QuicLive")("an address that is slow, where there is no better one", () =>
      leavesNothing(
        run(
          {},
          Effect.gen(function* () {
            const { address } = yield* listen()
            yield* Effect.acquireRelease(
              Effect.async<Net.Server>((resume) => {
                const server = Net.createServer({ pauseOnConnect: true }, (socket) => {
                  const onward = Net.connect(address.port, "127.0.0.1").on("error", () => {})
                  socket.on("error", () => {}).on("close", () => onward.destroy())
                  setTimeout(() => socket.pipe(onward).pipe(socket), 700)
                }).listen(address.port, "127.0.0.2", () => resume(Effect.succeed(server)))
              }),
              (server) => Effect.sync(() => server.close())
            )
            yield* blackHole("127.0.0.3", address.port)
            names({ "node.example": () => ["127.0.0.2", "127.0.0.3", "127.0.0.4"] })
            yield* within(answers(`node.example:${address.port}`), "4 seconds")
          })
        )
      )
    )

    test(
      "the address that is of the node that the name is for",
      Effect.gen(function* () {
        const { address } = yield* listen()
        const stranger = yield* Effect.promise(() => Effect.runPromise(ca.issue({ names: ["elsewhere.example"] })))
        const other = Layer.succeed(Credentials.Credentials, Credentials.make(rawMaterial(stranger, ca.ca)))
        const context = yield* Layer.build(Layer.orDie(Layer.provide(layer(), other)))
        yield* Effect.provide(listen({ host: "127.0.0.2", port: address.port }), context)
        names({ "node.example": () => ["127.0.0.2", "127.0.0.1"] })
        yield* answers(`node.example:${address.port}`)
        names({ "node.example": () => ["127.0.0.3", "127.0.0.2"] })
        expect(yield* fails(`node.example:${address.port}`)).toMatchObject({
          _tag: "HandshakeFailed",
          reason: "NameMismatch",
          nameWanted: "node.example"
        })
      })
    )
  })

  describe("says of what it can't connect to", () => {
    test(
      "that nobody listens there",
      Effect.gen(function* () {
        const port = yield* unused
        const error = yield* fails(`127.0.0.1:${port}`)
        expect(error).toMatchObject({
          _tag: "Unavailable",
          processed: "no",
          peer: `127.0.0.1:${port}`,
          message: `can't connect to 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`,
          cause: { code: "ECONNREFUSED" }
        })
      })
    )

    test(
      "that nobody has the name, or that it can't be looked up",
      Effect.gen(function* () {
        names({
          "busy.example": () => {
            throw Object.assign(new Error("getaddrinfo EAI_AGAIN busy.example"), {
              code: "EAI_AGAIN",
              syscall: "getaddrinfo",
              hostname: "busy.example"
            })
          }
        })
        for (const [name, code] of [
          ["nobody.example", "ENOTFOUND"],
          ["busy.example", "EAI_AGAIN"]
        ]) {
          expect(yield* fails(`${name}:80`)).toMatchObject({
            _tag: "Unavailable",
            processed: "no",
            peer: `${name}:80`,
            message: `can't connect to ${name}:80: getaddrinfo ${code} ${name}`,
            cause: { code }
          })
        }
      })
    )

    test(
      "of each address of a name",
      Effect.gen(function* () {
        const port = yield* unused
        names({ "node.example": () => ["127.0.0.2", "127.0.0.1"] })
        expect(yield* fails(`node.example:${port}`)).toMatchObject({
          _tag: "Unavailable",
          processed: "no",
          message: `can't connect to node.example:${port}: connect ECONNREFUSED 127.0.0.2:${port}, connect ECONNREFUSED 127.0.0.1:${port}`,
          cause: { errors: [{ code: "ECONNREFUSED" }, { code: "ECONNREFUSED" }] }
        })
      })
    )

    test(
      "that its time was over, and what had failed by then",
      Effect.gen(function* () {
        const port = yield* unused
        yield* blackHole("127.0.0.3", port)
        names({ "node.example": () => ["127.0.0.2", "127.0.0.3"], "slow.example": () => new Promise(() => {}) })
        expect(yield* within(fails(`node.example:${port}`), "2 seconds")).toMatchObject({
          _tag: "DeadlineExceeded",
          message: `no connection to node.example:${port} in time: connect ECONNREFUSED 127.0.0.2:${port}`
        })
        const [elapsed, error] = yield* Effect.timed(within(fails("slow.example:80"), "2 seconds"))
        expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: "slow.example:80" })
        expect(error.message).toBe("no connection to slow.example:80 in time: its name is still being looked up")
        expect(Duration.toMillis(elapsed)).toBeGreaterThan(450)
      }),
      { connectTimeout: "500 millis" }
    )

    test(
      "to the calls that it fails meanwhile",
      Effect.gen(function* () {
        const port = yield* unused
        const client = yield* Transport.client(EchoService, `127.0.0.1:${port}`, { waitForReady: true })
        const error = yield* Effect.flip(client.echo({}, { waitForReady: false }))
        expect(error).toMatchObject({ _tag: "Unavailable", processed: "no" })
        expect(error.message).toContain(`ECONNREFUSED 127.0.0.1:${port}`)
      })
    )
  })

  test(
    "looks up a name again while it is being looked up, but not again and again",
    Effect.gen(function* () {
      const asked = names({ "slow.example": () => new Promise(() => {}) })
      for (let i = 0; i < 4; i++) {
        yield* fails("slow.example:80")
      }
      expect(asked).toHaveLength(2)
    }),
    { connectTimeout: "20 millis" }
  )

  describe.runIf(wire !== "QuicLive")("unix sockets", () => {
    test(
      "by relative and absolute paths, with blanks and percent signs",
      Effect.gen(function* () {
        const directory = yield* Effect.acquireRelease(
          Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "transport "))),
          (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
        )
        for (const name of ["node.sock", "a node%20.sock", "100%.sock", "ü.sock", "@node", "node:80", "two\nlines"]) {
          const path = Path.join(directory, name)
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { target } = yield* listen({ path })
              yield* answers(target)
              yield* answers(`unix://${path}`)
              yield* answers(`unix:${Path.relative(process.cwd(), path)}`)
            })
          )
          expect(yield* fails(`unix:${path}`)).toMatchObject({
            _tag: "Unavailable",
            processed: "no",
            message: `can't connect to unix:${path}: connect ENOENT ${path}`,
            cause: { code: "ENOENT" }
          })
        }
      })
    )
  })

  test(
    "refuses targets that are none, and says what is wrong",
    Effect.gen(function* () {
      for (const [target, why] of [
        ["", "host:port"],
        ["node", "host:port"],
        [":80", "names no host"],
        [" node:80", "white space"],
        ["node:80 ", "white space"],
        ["no de:80", "white space"],
        ["node:80\n", "white space"],
        ["::1:80", "brackets"],
        ["fe80::1%eth0:80", "brackets"],
        ["[]:80", "IPv6"],
        ["[1::2::3]:80", "IPv6"],
        ["[node]:80", "IPv6"],
        ["[127.0.0.1]:80", "IPv6"],
        ["http://node:80", "scheme"],
        ["xds:///node:80", "scheme"],
        ["dns:///node", "host:port"],
        ["dns:///node:0", "between 1 and 65535"],
        ["dns:///user@node:80", "user"],
        ["srv:///node:80", "name of a service"],
        ["user@node:80", "user"],
        ["user:secret@node:80", "user"],
        ["node/path:80", "host:port"],
        ["node:80/path", "host:port"],
        ["node:0", "between 1 and 65535"],
        ["node:65536", "between 1 and 65535"],
        ["node:99999999999", "between 1 and 65535"],
        ["node:-1", "host:port"],
        ["node:http", "host:port"],
        ["unix:", "socket path"],
        ["unix://host/path", "socket path"],
        [`unix:/tmp/${"x".repeat(103)}`, "107 bytes"],
        [`unix:/tmp/${"ü".repeat(52)}`, "107 bytes"]
      ]) {
        const error = yield* fails(target ?? "")
        expect(error).toMatchObject({ _tag: "InvalidArgument", code: 3, peer: target })
        expect(error.message).toContain(why)
      }
    })
  )
})
