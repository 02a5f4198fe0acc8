/** The connection against python3-h2, a strict state machine of HTTP/2 that is none of ours, by a pipe, in both roles. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { describe, expect, it, onTestFinished } from "@effect/vitest"
import type { Fields } from "../../../src/protocol/Fields.js"
import {
  bytes,
  digest,
  type End,
  makeEnd,
  makeOwner,
  requestFields,
  responseFields,
  trailerFields
} from "./http2Support.js"

/**
 * As a server it sends back what comes, with a field of the request as a trailer. As a client it does for each size of its
 * argument a call, all at once, and wants the same back. Both change their settings on the way, pad, and ping.
 */
const program = `
import json, os, sys
import h2.config, h2.connection, h2.events, h2.settings

role, sizes = sys.argv[1], json.loads(sys.argv[2])
config = h2.config.H2Configuration(client_side=role == "client", header_encoding="latin-1")
connection = h2.connection.H2Connection(config)
codes = h2.settings.SettingCodes
bodies, wanted, pending, requests, trailers, log = {}, {}, {}, {}, {}, []

def body(size):
    return bytes((i * 7 + (i >> 8)) & 255 for i in range(size))

def flush():
    data = connection.data_to_send()
    while data:
        data = data[os.write(1, data):]

def send(stream):
    data, end = pending[stream]
    while data:
        room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size) - 11
        if room <= 0:
            pending[stream] = (data, end)
            return
        connection.send_data(stream, data[:room], pad_length=10 if len(data) % 3 == 0 else None)
        data = data[room:]
    del pending[stream]
    end()

def finish(stream):
    def end():
        connection.send_headers(stream, [("grpc-status", "0"), ("x-back", requests[stream].get("x-forth", ""))], end_stream=True)
    connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    pending[stream] = (bytes(bodies[stream]), end)
    send(stream)

connection.initiate_connection()
connection.update_settings({codes.INITIAL_WINDOW_SIZE: 20000, codes.MAX_FRAME_SIZE: 40000, codes.HEADER_TABLE_SIZE: 100})
connection.ping(b"01234567")
if role == "client":
    for i, size in enumerate(sizes):
        stream = 1 + 2 * i
        wanted[stream] = body(size)
        bodies[stream] = bytearray()
        connection.send_headers(stream, [(":method", "POST"), (":scheme", "https"), (":path", "/a.B/C"), (":authority", "a"),
            ("te", "trailers"), ("x-forth", str(i) * (size % 20000))], priority_weight=7 if size < 5000 else None)
        pending[stream] = (wanted[stream], lambda stream=stream: connection.end_stream(stream))
        send(stream)
flush()

while True:
    data = os.read(0, 65536)
    if not data:
        break
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.RequestReceived):
            requests[event.stream_id] = dict(event.headers)
            bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.ResponseReceived):
            assert dict(event.headers)[":status"] == "200", event
        elif isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            if role == "server":
                finish(event.stream_id)
            else:
                i = (event.stream_id - 1) // 2
                assert bodies[event.stream_id] == wanted[event.stream_id], "another body"
                assert trailers[event.stream_id] == {"grpc-status": "0", "x-back": str(i) * (sizes[i] % 20000)}, "other trailers"
                log.append(event.stream_id)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            for stream in list(pending):
                send(stream)
        elif isinstance(event, h2.events.StreamReset):
            pending.pop(event.stream_id, None)
            log.append("reset %d %d" % (event.stream_id, event.error_code))
        elif isinstance(event, h2.events.PingAckReceived):
            log.append("pong")
        elif isinstance(event, h2.events.ConnectionTerminated):
            log.append("goaway %d" % event.error_code)
    is_done = role == "client" and len(sizes) == len([each for each in log if isinstance(each, int)])
    if is_done:
        connection.close_connection()
    flush()
    if is_done:
        break
json.dump(log, sys.stderr)
`

/** Debian's own, where another one comes first. */
const python = ["/usr/bin/python3", "python3"].find((command) => spawnSync(command, ["-c", "import h2"]).status === 0)

const describePeer = (body: (command: string) => void) =>
  python === undefined
    ? describe.skip("python3-h2 (skipped: it is not installed)", () => body(""))
    : describe("python3-h2", () => body(python))

const start = (command: string, role: string, sizes: ReadonlyArray<number>) => {
  const child = spawn(command, ["-c", program, role, JSON.stringify(sizes)])
  onTestFinished(() => {
    child.kill("SIGKILL")
  })
  let stderr = ""
  child.stderr.on("data", (chunk) => {
    stderr += String(chunk)
  })
  const exited = once(child, "close").then(([status]) => ({ status, log: stderr }))
  return { child, exited }
}

/** Moves bytes between an end and the process until the process has closed its output. */
const connect = (end: End, child: ChildProcessWithoutNullStreams, onTurn: () => void) => {
  const flush = () => {
    for (let taken = end.http2.output(16_384); taken.length > 0; taken = end.http2.output(16_384)) {
      child.stdin.write(Buffer.concat(taken))
    }
  }
  child.stdin.on("error", () => {})
  child.stdout.on("data", (chunk: Buffer) => {
    end.http2.receive(chunk, 0)
    onTurn()
    flush()
  })
  flush()
  return flush
}

const sizes = [0, 1, 5, 100, 4096, 16_384, 20_000, 65_535, 100_000, 300_000, 7, 19_999]

const limits = { maxHeaderListSize: 64 * 1024, maxStreamWindow: 1 << 20, maxUselessRate: 100, maxPingRate: 10 }

describePeer((command) => {
  it("takes our calls, and answers them", async () => {
    const received = new Map<number, Array<Buffer>>()
    const trailers = new Map<number, Fields>()
    let open = 0
    let started = false
    const client = makeEnd("client", limits, {
      onSettings: () => {
        started = true
      },
      onData: (stream, chunk) => {
        received.get(stream.id)?.push(Buffer.from(chunk))
        client.http2.consume(stream, chunk.length)
      },
      onTrailers: ({ id }, fields) => {
        trailers.set(id, fields)
      },
      onEnd: () => {
        open -= 1
      }
    })
    const { child, exited } = start(command, "server", [])
    const flush = connect(client, child, () => {
      if (started) {
        started = false
        const head = client.http2.makeHead(requestFields)
        for (const [i, size] of sizes.entries()) {
          const rest: Fields = [["x-forth", String(i).repeat(size % 20_000)]]
          const stream = client.http2.open(head, rest, false, makeOwner())
          received.set(stream.id, [])
          client.http2.sendData(stream, bytes(size), -1, true, () => {})
          open += 1
        }
        const reset = client.http2.open(head, [], false, makeOwner())
        client.http2.reset(reset, "CANCEL")
        client.http2.ping(7n)
      } else if (open === 0) {
        client.http2.goaway("NO_ERROR", "done")
        setImmediate(() => {
          flush()
          child.stdin.end()
        })
      }
    })
    const { log, status } = await exited
    expect(status, log).toBe(0)
    expect(JSON.parse(log)).toEqual(expect.arrayContaining(["pong", `reset ${2 * sizes.length + 1} 8`, "goaway 0"]))
    expect(client.log).toEqual(expect.arrayContaining(["pong 7"]))
    for (const [i, size] of sizes.entries()) {
      expect(digest(...(received.get(2 * i + 1) ?? []))).toBe(digest(bytes(size)))
      expect(trailers.get(2 * i + 1)).toEqual([
        ["grpc-status", "0"],
        ["x-back", String(i).repeat(size % 20_000)]
      ])
    }
  })

  it("calls us, and takes our answers", async () => {
    const received = new Map<number, Array<Buffer>>()
    const forth = new Map<number, string>()
    const server = makeEnd("server", limits, {
      onRequest: ({ id }, { fields }) => {
        received.set(id, [])
        forth.set(id, fields.find(([name]) => name === "x-forth")?.[1] ?? "")
      },
      onData: (stream, chunk) => {
        received.get(stream.id)?.push(Buffer.from(chunk))
        server.http2.consume(stream, chunk.length)
      },
      onEnd: (stream) => {
        server.http2.sendHeaders(stream, server.http2.makeHead(responseFields), [], false)
        server.http2.sendData(stream, Buffer.concat(received.get(stream.id) ?? []), -1, false, () => {})
        server.http2.sendHeaders(stream, undefined, [...trailerFields, ["x-back", forth.get(stream.id) ?? ""]], true)
      }
    })
    const { child, exited } = start(command, "client", sizes)
    connect(server, child, () => {})
    const { log, status } = await exited
    expect(status, log).toBe(0)
    expect(JSON.parse(log).filter((each: unknown) => typeof each === "number")).toHaveLength(sizes.length)
    expect(server.http2.streams()).toEqual([])
    expect(server.log.at(-1)).toBe("goaway 0 NO_ERROR ")
  })
})
