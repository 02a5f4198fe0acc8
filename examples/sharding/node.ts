import { RunnerAddress, ShardingConfig } from "@effect/cluster"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Credentials } from "effect-transport"
import * as ClusterTransport from "effect-transport/ClusterTransport"
import { networkTransports, transports } from "../shared/transports.js"
import { storage } from "./storage.js"

/** What the nodes of one cluster share. */
export const Cluster = Schema.Struct({
  transport: Schema.Literal(...networkTransports),
  database: Schema.String,
  ca: Schema.String,
  cert: Schema.String,
  key: Schema.Redacted(Schema.String)
})

/** The environment variable that has what a runner needs to know, and how it stands there. */
export const variable = "SHARDING_RUNNER"
export const RunnerJson = Schema.parseJson(Schema.Struct({ ...Cluster.fields, port: Schema.Number }))

/** The intervals are short, so that a dead runner is missed in seconds. */
const config = (port: number | undefined) =>
  ShardingConfig.layer({
    runnerAddress: Option.map(Option.fromNullable(port), (port) => RunnerAddress.make("127.0.0.1", port)),
    shardsPerGroup: 30,
    shardLockRefreshInterval: "1 second",
    shardLockExpiration: "5 seconds",
    entityMessagePollInterval: "1 second",
    entityReplyPollInterval: "200 millis",
    refreshAssignmentsInterval: "1 second",
    runnerHealthCheckInterval: "1 second"
  })

/** What nodes stand on: storage, and mutual TLS between them. */
const ground = (cluster: typeof Cluster.Type, port?: number) =>
  Layer.provideMerge(
    storage(cluster.database),
    Layer.merge(config(port), Layer.provide(transports[cluster.transport].layer, Credentials.layerPem(cluster)))
  )

/** A runner, which takes shards. */
export const runner = (cluster: typeof Cluster.Type, port: number) =>
  ClusterTransport.layer().pipe(Layer.provide(ClusterTransport.layerRunnerHealth), Layer.provide(ground(cluster, port)))

/** A client of the cluster, and the database under it. */
export const client = (cluster: typeof Cluster.Type) =>
  Layer.provideMerge(ClusterTransport.layerClientOnly, ground(cluster))
