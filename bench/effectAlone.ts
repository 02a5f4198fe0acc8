/** What a program of Effect imports whatever it calls others by; start-up times are compared with it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

export default { Effect, Layer, Schema, Stream }
