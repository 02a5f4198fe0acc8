import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"
import type { BindError, CallError } from "effect-transport"
import { type FailureTag, httpStatus } from "./httpStatus.js"
import { TransportName } from "./transports.js"

/** All but the one whose body tells more. */
type Tag = Exclude<FailureTag, "RetriesExhausted">

/** What the body of an error says. Nothing of a cause or a stack leaves the process. */
export interface Failure {
  readonly _tag: Tag
  readonly message: string
  readonly transport?: TransportName | undefined
  readonly method?: string | undefined
  readonly peer?: string | undefined
}

const isTag = (tag: string): tag is Tag => tag in httpStatus && tag !== "RetriesExhausted"

const tags = Object.keys(httpStatus).filter(isTag)

const withStatus = (status: number): Schema.Schema<Failure> =>
  Schema.Struct({
    _tag: Schema.Literal(...tags.filter((tag) => httpStatus[tag] === status)),
    message: Schema.String,
    transport: Schema.optional(TransportName),
    method: Schema.optional(Schema.String),
    peer: Schema.optional(Schema.String)
  }).annotations(HttpApiSchema.annotations({ status, identifier: `Failure${status}` }))

/** The errors of some tags, each with the status that the table gives it. */
export const failures = (...of: ReadonlyArray<Tag>): Schema.Schema<Failure> =>
  Schema.Union(...[...new Set(of.map((tag) => httpStatus[tag]))].map((status) => byStatus.get(status) ?? Schema.Never))

const byStatus = new Map([...new Set(Object.values(httpStatus))].map((status) => [status, withStatus(status)]))

/** What a call can end with, and a client that is not there. */
export const callFailures = failures(
  ...tags.filter((tag) => !["BodyTooLarge", "Forbidden", "BindError", "NodeNotRunning", "NodeRunning"].includes(tag))
)

/** An error of the library, as told to the outside. */
export const fromError =
  (transport: TransportName) =>
  ({ _tag, message, method, peer }: CallError | BindError): Failure => ({ _tag, message, transport, method, peer })
