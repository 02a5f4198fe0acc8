/** The old name of `MissingPackage`, from when QUIC's engine had an error of its own. */
import { MissingPackage } from "../Transport/TransportError.js"

/**
 * The QUIC engine is not installed, or has no binary for this platform.
 *
 * @since 0.1.0
 * @category errors
 * @deprecated Use `MissingPackage`; its tag is that name too.
 */
export const QuicUnavailable = MissingPackage

/**
 * @since 0.1.0
 * @category errors
 * @deprecated Use `MissingPackage`.
 */
export type QuicUnavailable = MissingPackage
