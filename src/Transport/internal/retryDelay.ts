/** When an error says that it may be tried again. */
import * as Option from "effect/Option"
import * as ErrorDetails from "../ErrorDetails.js"
import type { Detail } from "../TransportError.js"

/** The milliseconds of its `google.rpc.RetryInfo`; 0 where it has none. */
export const retryDelay = (error: { readonly details: ReadonlyArray<Detail> }): number =>
  ErrorDetails.get(error, ErrorDetails.RetryInfo).pipe(
    Option.flatMapNullable((info) => info.retryDelay),
    Option.match({
      onNone: () => 0,
      onSome: ({ nanos, seconds }) => Math.max(0, Number(seconds) * 1000 + nanos / 1_000_000)
    })
  )
