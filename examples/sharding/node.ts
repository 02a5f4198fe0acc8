import { RunnerAddress, RunnerHealth, ShardingConfig, SqlMessageStorage, SqlRunnerStorage } from "@effect/cluster"
import { SqliteClient } from "@effect/sql-sqlite-node"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { ClusterTransport, Credentials, TlsLive } from "effect-transport"

/** What the nodes of one cluster share, and the port of one of them. */
export interface Node {
  readonly database: string
  readonly cert: string
  readonly key: string
  readonly ca: string
  readonly port: number | undefined
}

const transport = (node: Node) => Layer.provide(TlsLive, Credentials.layerPem(node))

/** All state is in one SQLite file; a real cluster has a database server instead. */
const storage = ({ database, port }: Node) =>
  Layer.mergeAll(SqlMessageStorage.layer, SqlRunnerStorage.layer).pipe(
    Layer.provide(SqliteClient.layer({ filename: database })),
    Layer.provideMerge(
      ShardingConfig.layer({
        runnerAddress: Option.map(Option.fromNullable(port), (port) => RunnerAddress.make("127.0.0.1", port)),
        shardsPerGroup: 30,
        shardLockRefreshInterval: "1 second",
        shardLockExpiration: "4 seconds",
        entityMessagePollInterval: "1 second",
        entityReplyPollInterval: "200 millis",
        refreshAssignmentsInterval: "1 second",
        runnerHealthCheckInterval: "1 second"
      })
    )
  )

/** A runner, which takes shards. */
export const runner = (node: Node) =>
  ClusterTransport.layer().pipe(
    Layer.provide(RunnerHealth.layerNoop),
    Layer.provide(storage(node)),
    Layer.provide(transport(node))
  )

/** A client of the cluster. */
export const client = (node: Node) =>
  ClusterTransport.layerClientOnly.pipe(Layer.provide(storage(node)), Layer.provide(transport(node)))
