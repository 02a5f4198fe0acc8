/** What the compiler says of combinators, first or last in a pipe. `tsc` is the test: nothing here runs. */
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import { Authorizer, Deadline, ErrorDetails, type Metadata as M, Metadata, type NotFound } from "effect-transport"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles where both are the same type, and nowhere else. */
const same = <A, B>(_: Equal<A, B>): void => {}

declare const metadata: M.Metadata
declare const error: NotFound

// The key says whether values are text or bytes, on either side of the pipe.
const first = [Metadata.get(metadata, "x-proof-bin"), Metadata.getAll(metadata, "x-id")] as const
const last = [metadata.pipe(Metadata.get("x-proof-bin")), metadata.pipe(Metadata.getAll("x-id"))] as const
same<typeof first, readonly [Option.Option<Uint8Array>, ReadonlyArray<string>]>(true)
same<typeof last, typeof first>(true)

// @ts-expect-error a key is text
metadata.pipe(Metadata.get(1))

// @ts-expect-error only metadata is added to metadata
metadata.pipe(Metadata.concat({ a: "1" }))

const quota = pipe(error, ErrorDetails.get(ErrorDetails.QuotaFailure))
const quotaFirst = ErrorDetails.get(error, ErrorDetails.QuotaFailure)
same<typeof quota, typeof quotaFirst>(true)
Option.map(quota, ({ violations }) => violations.length)

const until: Deadline.Deadline = pipe(Date.now(), Deadline.after("2 seconds"), Deadline.min(Deadline.none))
same<typeof until, number>(true)

const may: boolean = pipe(Authorizer.san("node-a"), Authorizer.check(Option.none()))
same<typeof may, boolean>(true)

// @ts-expect-error an identity may be missing, and that is said
pipe(Authorizer.any, Authorizer.check(undefined))
