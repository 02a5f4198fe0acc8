import { SqlMessageStorage, SqlRunnerStorage } from "@effect/cluster"
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { SqliteClient } from "@effect/sql-sqlite-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/**
 * SQLite lets one process write at a time. A transaction that says so at its start waits for its turn; one that starts by
 * reading is refused (`SQLITE_BUSY_SNAPSHOT`) when it wants to write after another has. `SqliteClient` has no option for
 * it. What is committed survives the process, and need not survive the machine.
 */
const immediate = Layer.effect(
  SqlClient.SqlClient,
  Effect.gen(function* () {
    const sqlite = yield* SqliteClient.SqliteClient
    yield* sqlite`PRAGMA synchronous = NORMAL`
    return yield* SqlClient.make({
      acquirer: sqlite.reserve,
      beginTransaction: "BEGIN IMMEDIATE",
      compiler: Statement.makeCompilerSqlite(),
      spanAttributes: []
    })
  })
).pipe(Layer.provide(Reactivity.layer))

/** All that a cluster remembers, in one SQLite file. One on several machines has a database server instead. */
export const storage = (filename: string) =>
  Layer.mergeAll(SqlMessageStorage.layer, SqlRunnerStorage.layer).pipe(
    Layer.provideMerge(immediate),
    Layer.provide(SqliteClient.layer({ filename }))
  )
