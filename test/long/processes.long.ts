/** GrpcLive and peers in processes of their own, which are killed or stopped. */
import { spawn } from "node:child_process"
import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { DevCa, Transport } from "effect-transport"
import { child } from "../fixtures/child.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers } from "../fixtures/grpc.js"
import { listen } from "../fixtures/tls.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, soon } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))
const material = rawMaterial(issued, ca.ca)
const args = { ca: ca.ca, cert: issued.cert, key: Redacted.value(issued.key) }

/** A target that does not even answer TCP: a process that is stopped, with more connections than it can keep waiting. */
const blackhole = Effect.gen(function* () {
  const code =
    "const s = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port))"
  const stopped = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "ignore"] })),
    (stopped) => Effect.sync(() => stopped.kill("SIGKILL"))
  )
  const port = yield* Effect.async<number>((resume) => {
    stopped.stdout.once("data", (bytes: Buffer) => resume(Effect.succeed(Number(String(bytes)))))
  })
  stopped.kill("SIGSTOP")
  for (let i = 0; i < 8; i++) {
    yield* Effect.acquireRelease(
      Effect.sync(() => Net.connect(port, "127.0.0.1").on("error", () => {})),
      (socket) => Effect.sync(() => socket.destroy())
    )
  }
  yield* Effect.sleep("50 millis")
  return `127.0.0.1:${port}`
})

describeEngines(({ name: engine, on }) => {
  describe("a process", () => {
    it.live("that is killed has the handlers of its calls interrupted", () =>
      leavesNothing(
        Effect.gen(function* () {
          const handlers = yield* Effect.all({ echo: follow, serverStream: follow, clientStream: follow, bidi: follow })
          const { target } = yield* on(material)(
            Transport.listen([
              echoHandlers({
                echo: () => handlers.echo.run(Effect.never),
                echoServerStream: () => Stream.fromEffect(handlers.serverStream.run(Effect.never)),
                echoClientStream: (requests) => Effect.as(handlers.clientStream.run(Stream.runDrain(requests)), {}),
                echoBidi: () => Stream.fromEffect(handlers.bidi.run(Effect.never))
              })
            ])
          )
          const client = yield* child("call", { ...args, engine, target })
          const all = Object.values(handlers)
          yield* eventually(
            Effect.map(
              Effect.forEach(all, ({ isStarted }) => isStarted),
              (started) => expect(started).not.toContain(false)
            ),
            "15 seconds"
          )
          yield* client.signal("SIGKILL")
          for (const { ended } of all) {
            expect(yield* ended).toBe("interrupted")
          }
        })
      )
    )

    it.live("that is killed fails the calls that it was handling as Unavailable", () =>
      leavesNothing(
        Effect.gen(function* () {
          const server = yield* child("serve", { ...args, engine })
          const target = yield* server.line
          const client = yield* on(material)(Transport.client(EchoService, target))
          const calls = yield* Effect.fork(
            Effect.all(
              [
                Effect.flip(client.echo({})),
                Effect.flip(client.echoClientStream(Stream.never)),
                Effect.flip(Stream.runDrain(client.echoBidi(Stream.never)))
              ],
              { concurrency: "unbounded" }
            )
          )
          // They are on their way when the listener has answered one that came later.
          yield* Effect.flip(client.echo({}, { timeout: "100 millis" }))
          yield* server.signal("SIGKILL")
          for (const error of yield* soon(Fiber.join(calls))) {
            expect(error).toMatchObject({ _tag: "Unavailable", processed: "unknown", peer: target })
          }
        })
      )
    )

    it.live("that is stopped, as a machine that hangs, does not keep a client", () =>
      leavesNothing(
        Effect.gen(function* () {
          const target = yield* blackhole
          const client = on(material, { connectTimeout: "300 millis" })(Transport.client(EchoService, target))
          const [elapsed, error] = yield* Effect.timed(Effect.flip(Effect.scoped(client)))
          expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: target })
          expect(Duration.toMillis(elapsed)).toBeLessThan(4500)
        })
      )
    )

    it.live("ends by itself when its scopes are closed, whatever it has done", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const silent = yield* listen((socket) => void socket.resume())
          const greeter = yield* listen((socket) => socket.write("220 hello\r\n"))
          const stranger = yield* on(rawMaterial(yield* (yield* DevCa.make()).issue({ names: ["127.0.0.1"] }), ca.ca))(
            Transport.listen([echoHandlers()])
          )
          const targets = [
            "127.0.0.1:1",
            "no-such-host.invalid:443",
            `127.0.0.1:${silent.port}`,
            `127.0.0.1:${greeter.port}`,
            stranger.target,
            yield* blackhole
          ]
          const program = yield* child("exit", { ...args, engine, targets })
          const said = JSON.parse(yield* program.line)
          expect(said).toEqual({
            good: 5,
            failures: [
              "Unavailable",
              "Unavailable",
              "DeadlineExceeded",
              "HandshakeFailed",
              "HandshakeFailed",
              "DeadlineExceeded"
            ],
            forced: expect.stringMatching(/^(Cancelled|Unavailable)$/)
          })
          const [elapsed, ended] = yield* Effect.timed(program.ended)
          expect(ended).toEqual({ code: 0, signal: null, stderr: "" })
          expect(Duration.toMillis(elapsed)).toBeLessThan(10_000)
        })
      )
    )
  })
})
