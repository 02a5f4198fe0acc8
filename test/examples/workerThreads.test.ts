import { MessageChannel } from "node:worker_threads"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Transport } from "effect-transport"
import * as WorkerWire from "../../examples/worker-wire/WorkerWire.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { closable, leavesNothing } from "../suite/fixtures/expect.js"

/** Tells its callers by whom it was called. */
const listen = (port: number) =>
  Transport.listen(
    [
      Transport.handlers(EchoService, {
        ...echo,
        echo: (_, { peer }) => Effect.succeed({ message: `from ${peer.address}` })
      })
    ],
    { host: "there", port }
  )

it.live("WorkerWire reaches the listeners of a thread that has joined, and no more of them once it has left", () =>
  Effect.gen(function* () {
    const { port1, port2 } = new MessageChannel()
    // Both ends in one thread: what goes to the host "there" comes back in as from "elsewhere".
    const [, leave] = yield* closable(WorkerWire.join("there", port1))
    yield* WorkerWire.join("elsewhere", port2)
    yield* listen(1)
    const client = yield* Transport.client(EchoService, "there:1")
    expect((yield* client.echo({})).message).toBe("from elsewhere")
    expect(yield* Effect.flip(Transport.client(EchoService, "there:2"))).toMatchObject({
      _tag: "Unavailable",
      processed: "no",
      peer: "there:2"
    })
    yield* leave
    // Connections have ports of their own, and stay.
    expect((yield* client.echo({})).message).toBe("from elsewhere")
    yield* listen(2)
    const direct = yield* Effect.retry(Transport.client(EchoService, "there:2"), {
      times: 100,
      schedule: Schedule.spaced("5 millis")
    })
    expect((yield* direct.echo({})).message).toBe("from this thread")
  }).pipe(leavesNothing, Effect.provide(WorkerWire.layer()))
)
