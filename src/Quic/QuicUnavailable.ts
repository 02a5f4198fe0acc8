import * as Schema from "effect/Schema"

/**
 * The QUIC engine is not installed, or has no binary for this platform. Everything else works without it.
 *
 * @since 0.1.0
 * @category errors
 */
export class QuicUnavailable extends Schema.TaggedError<QuicUnavailable>("effect-transport/QuicUnavailable")(
  "QuicUnavailable",
  {
    message: Schema.String,
    /** The package to install. */
    packageName: Schema.String,
    /** As `linux-x64`: operating system and processor. */
    platform: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {}
