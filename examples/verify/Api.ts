import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { callFailures, failures } from "./Failure.js"
import { httpStatus } from "./httpStatus.js"
import {
  EchoBody,
  EchoPath,
  EchoQuery,
  IntruderPath,
  LoadBody,
  NetworkBody,
  NodesQuery,
  RetryBody,
  StreamQuery
} from "./inputs.js"
import {
  Attempted,
  ConnectionView,
  EchoAnswer,
  HealthView,
  Measured,
  NodesView,
  NodeView,
  RetriesExhausted,
  RetryAnswer,
  TenantsAnswer
} from "./model.js"
import { contentType } from "./prometheus.js"

/** When the request came, in nanoseconds of the clock. */
export class Arrival extends Context.Tag("verify/Arrival")<Arrival, bigint>() {}

/** Notes when the request came, before anything of it is read. */
export class Timed extends HttpApiMiddleware.Tag<Timed>()("verify/Timed", { provides: Arrival }) {}

const describe = (description: string) => OpenApi.annotations({ description })

const echo = HttpApiGroup.make("echo")
  .add(
    HttpApiEndpoint.get("getGrpcEcho", "/grpc_echo")
      .setUrlParams(EchoQuery)
      .addSuccess(EchoAnswer)
      .annotateContext(describe("HTTP to gRPC and back."))
  )
  .add(
    HttpApiEndpoint.post("postGrpcEcho", "/grpc_echo")
      .setPayload(EchoBody)
      .addSuccess(EchoAnswer)
      .annotateContext(describe("The same, for longer messages."))
  )
  .add(
    HttpApiEndpoint.get("getEcho", "/echo/:transport")
      .setPath(EchoPath)
      .setUrlParams(EchoQuery)
      .addSuccess(EchoAnswer)
      .annotateContext(describe("HTTP to a node over any of the transports, and back."))
  )
  .add(
    HttpApiEndpoint.post("postEcho", "/echo/:transport")
      .setPath(EchoPath)
      .setPayload(EchoBody)
      .addSuccess(EchoAnswer)
      .annotateContext(describe("The same, for longer messages."))
  )
  .addError(callFailures)
  .middleware(Timed)
  .annotateContext(describe("Echoes, with the time that each hop took."))

const retry = HttpApiGroup.make("retry")
  .add(
    HttpApiEndpoint.post("retryTest", "/retry_test")
      .setPayload(RetryBody)
      .addSuccess(RetryAnswer)
      .addError(RetriesExhausted, { status: httpStatus.RetriesExhausted })
      .addError(callFailures)
      .annotateContext(
        describe(
          "An echo whose first `failures` attempts the node fails with Unavailable, under RetryPolicy.exponential. " +
            "`maxAttempts` counts the first one too."
        )
      )
  )
  .annotateContext(describe("Retries at the call site."))

const identityFailures = failures("TransportAbsent", "FailedPrecondition", "Internal", "Forbidden")

const nodes = HttpApiGroup.make("nodes")
  .add(
    HttpApiEndpoint.get("list", "/nodes")
      .setUrlParams(NodesQuery)
      .addSuccess(NodesView)
      .addError(failures("TooBusy"))
      .annotateContext(describe("The nodes. With `since`, waits up to 20 seconds for a later version."))
  )
  .add(
    HttpApiEndpoint.post("kill", "/nodes/:transport/kill")
      .setPath(EchoPath)
      .addSuccess(NodeView)
      .addError(failures("NodeNotRunning", "TransportAbsent", "Forbidden"))
      .annotateContext(describe("Ends the node at once, with all that it is doing."))
  )
  .add(
    HttpApiEndpoint.post("restart", "/nodes/:transport/restart")
      .setPath(EchoPath)
      .addSuccess(NodeView)
      .addError(failures("NodeRunning", "TransportAbsent", "BindError", "Forbidden"))
      .annotateContext(describe("Starts it again, on the port that it had."))
  )
  .add(
    HttpApiEndpoint.get("connections", "/connections")
      .addSuccess(Schema.Array(ConnectionView))
      .annotateContext(describe("How the app's connection to each node is, and why."))
  )
  .add(
    HttpApiEndpoint.post("rotate", "/nodes/:transport/rotate")
      .setPath(EchoPath)
      .addSuccess(NodeView)
      .addError(identityFailures)
      .annotateContext(describe("Gives the node a new key and certificate, which the app pins, while it is called."))
  )
  .add(
    HttpApiEndpoint.post("revoke", "/nodes/:transport/revoke")
      .setPath(EchoPath)
      .addSuccess(NodeView)
      .addError(identityFailures)
      .annotateContext(describe("Revokes the app's certificate at the node, which ends their connection."))
  )
  .add(
    HttpApiEndpoint.post("renew", "/nodes/:transport/renew")
      .setPath(EchoPath)
      .addSuccess(NodeView)
      .addError(identityFailures)
      .annotateContext(describe("Gives the app a new key and certificate, with which it may call the node."))
  )
  .annotateContext(describe("The echo nodes of this process."))

const intruders = HttpApiGroup.make("intruders")
  .add(
    HttpApiEndpoint.post("attempt", "/intruders/:transport/:intruder")
      .setPath(IntruderPath)
      .addSuccess(Attempted)
      .addError(failures("TransportAbsent", "FailedPrecondition", "TooBusy", "Forbidden"))
      .annotateContext(describe("One who may not call a node tries to, and is told why not."))
  )
  .annotateContext(describe("Who may call, and who may not."))

const experiments = HttpApiGroup.make("experiments")
  .add(
    HttpApiEndpoint.post("load", "/load/:transport")
      .setPath(EchoPath)
      .setPayload(LoadBody)
      .addSuccess(Measured)
      .annotateContext(describe("Calls as fast as they go, for a while: calls a second, and how long they take."))
  )
  .add(
    HttpApiEndpoint.post("network", "/network/:transport")
      .setPath(EchoPath)
      .setPayload(NetworkBody)
      .addSuccess(Measured)
      .annotateContext(
        describe(
          "Calls over a network that delays what passes each way, and loses some of it. Over TCP a loss holds up all " +
            "that follows it for 200 ms; over QUIC a packet is lost."
        )
      )
  )
  .add(
    HttpApiEndpoint.post("tenants", "/tenants/:transport")
      .setPath(EchoPath)
      .addSuccess(TenantsAnswer)
      .annotateContext(
        describe("Two tenants call a node with a rule of admission, one of them ten times as often as it may.")
      )
  )
  .add(
    HttpApiEndpoint.get("stream", "/stream/:transport")
      .setPath(EchoPath)
      .setUrlParams(StreamQuery)
      .addSuccess(HttpApiSchema.Text({ contentType: "application/x-ndjson" }))
      .annotateContext(
        describe(
          "A stream of the node as lines of JSON, of which the last says how it ended. Who stops reading cancels it."
        )
      )
  )
  .addError(callFailures)
  .annotateContext(describe("Many calls, long ones, and bad networks."))

const Unhealthy = HealthView.annotations(HttpApiSchema.annotations({ status: httpStatus.Unavailable }))

const operations = HttpApiGroup.make("operations")
  .add(
    HttpApiEndpoint.get("healthz", "/healthz")
      .addSuccess(HealthView)
      .addError(Unhealthy)
      .annotateContext(describe("Echoes over each transport; 503 where one that there is does not answer."))
  )
  .add(
    HttpApiEndpoint.get("metrics", "/metrics")
      .addSuccess(HttpApiSchema.Text({ contentType }))
      .annotateContext(describe("Effect's metrics, as Prometheus text."))
  )
  .annotateContext(describe("For probes and scrapers."))

/** What this app can be asked over HTTP. */
export class Api extends HttpApi.make("verify")
  .add(echo)
  .add(retry)
  .add(nodes)
  .add(intruders)
  .add(experiments)
  .add(operations)
  .annotateContext(
    OpenApi.annotations({
      title: "effect-transport: verification",
      version: "0.1.0",
      description: "HTTP in, any transport behind. The page is at /."
    })
  ) {}
