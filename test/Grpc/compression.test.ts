import { describe } from "@effect/vitest"
import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { calls } from "../suite/calls.js"
import { cancellation } from "../suite/cancellation.js"
import { compression } from "../suite/compression.js"
import { deadlines } from "../suite/deadlines.js"
import { make } from "../suite/harness.js"
import { messages } from "../suite/messages.js"

const dev = Credentials.layerDev()

const suite = make({
  layer: (options) => Layer.provide(Grpc.layer({ ...options, compression: "gzip" }), dev)
})

describe("GrpcLive with compression", () => {
  calls(suite)
  messages(suite)
  compression(suite)
  deadlines(suite)
  cancellation(suite)
})
