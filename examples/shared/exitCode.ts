/** The exit code of a program: 0, 1 for a failure, and 130 for Ctrl-C. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"

export const exitCode = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1
