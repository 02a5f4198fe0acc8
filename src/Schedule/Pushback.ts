/**
 * Pushback: what a server says, beside an error, about when to try again.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { retryDelay } from "../Transport/internal/retryDelay.js"
import * as Metadata from "../Transport/Metadata.js"
import { Detail } from "../Transport/TransportError.js"

/**
 * - `Refused`: do not try again.
 * - `Exactly`: after this long, in place of any computed delay.
 * - `AtLeast`: not before this long; 0 when the server said nothing.
 *
 * Milliseconds, 0 or more, as large as the server pleased: bound them before use.
 *
 * @since 0.1.0
 * @category models
 */
export type Pushback =
  | { readonly _tag: "Refused" }
  | { readonly _tag: "Exactly"; readonly millis: number }
  | { readonly _tag: "AtLeast"; readonly millis: number }

/** An int32 without a sign, a fraction or needless leading zeros; a negative one refuses just as garbage does. */
const parse = (values: ReadonlyArray<Metadata.Value>): Pushback => {
  const [value] = values
  return values.length === 1 && typeof value === "string" && /^(0|[1-9]\d*)$/.test(value) && Number(value) < 2 ** 31
    ? { _tag: "Exactly", millis: Number(value) }
    : { _tag: "Refused" }
}

const hasDetails = Schema.is(Schema.Struct({ details: Schema.Array(Detail) }))

const delayOf = (error: unknown): number => (hasDetails(error) ? retryDelay(error) : 0)

/**
 * Reads an error of any class by its fields: `grpc-retry-pushback-ms` in `metadata`, and where that is absent
 * `google.rpc.RetryInfo` in `details`. Several values of the key refuse, as an unreadable one does.
 *
 * Source: gRFC A6, "Pushback", and `google/rpc/error_details.proto`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromError = (error: unknown): Pushback => {
  const trailers =
    Predicate.hasProperty(error, "metadata") && Metadata.isMetadata(error.metadata) ? error.metadata : Metadata.empty
  const values = Metadata.getAll(trailers, "grpc-retry-pushback-ms")
  return values.length > 0 ? parse(values) : { _tag: "AtLeast", millis: delayOf(error) }
}
