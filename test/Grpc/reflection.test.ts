/** `buf curl`, which has Go's reflection client inside, lists, describes and calls what a listener serves. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Authorizer, Health, Reflection, Transport } from "effect-transport"
import { describeWith, run } from "../fixtures/command.js"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { identities, writeCertificates } from "../Quic/peerSupport.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing, testTimeout, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url))

const calling = (port: number) =>
  Effect.map(
    Effect.tap(directory, writeCertificates),
    (dir) =>
      (path: string, ...args: ReadonlyArray<string>) =>
        run(
          buf,
          [
            ...["curl", "--cacert", "ca.pem", "--cert", "cert.pem", "--key", "key.pem", "--protocol", "grpc"],
            ...[...args, `https://localhost:${port}${path}`]
          ],
          dir,
          { XDG_CACHE_HOME: join(dir, "cache") }
        )
  )

const lines = (text: string) => text.trim().split("\n").sort()

describeWith([buf], "buf curl", () => {
  describe.each(grpcEngines)("over mTLS on $name", ({ on }) => {
    it.live(
      "lists the services and methods of a listener, and calls them, by reflection alone",
      () =>
        leavesNothing(
          Effect.gen(function* () {
            const handlers = [
              Transport.handlers(EchoService, echo),
              Transport.handlers(
                Health.Contract,
                { check: () => Effect.never, watch: () => Effect.never, list: () => Effect.never } as never,
                { authorize: Authorizer.either() }
              ) as Transport.Handlers<never>,
              Reflection.handlers
            ] as const
            const { address } = yield* on(identities.good)(Transport.listen(handlers, { host: "localhost" }))
            const curl = yield* calling(address.port)
            const services = yield* curl("", "--list-services")
            expect(lines(services.stdout), services.text).toEqual([
              EchoService.typeName,
              Reflection.Contract.typeName,
              Reflection.AlphaContract.typeName
            ])
            const methods = yield* curl("", "--list-methods", "--reflect-protocol", "grpc-v1")
            expect(lines(methods.stdout), methods.text).toEqual([
              ...["Echo", "EchoBidi", "EchoClientStream", "EchoServerStream"].map(
                (name) => `${EchoService.typeName}/${name}`
              ),
              `${Reflection.Contract.typeName}/ServerReflectionInfo`,
              `${Reflection.AlphaContract.typeName}/ServerReflectionInfo`
            ])
            for (const version of ["grpc-v1", "grpc-v1alpha"]) {
              const called = yield* curl(
                `/${EchoService.typeName}/EchoServerStream`,
                ...["--reflect-protocol", version, "--data", JSON.stringify({ message: "hello", repeat: 2 })]
              )
              expect(called.code, called.text).toBe(0)
              expect(called.stdout.replaceAll(/\s/g, "")).toBe('{"message":"hello"}{"message":"hello","index":1}')
            }
            const hidden = yield* curl(`/${Health.Contract.typeName}/Check`, "--data", "{}")
            expect(hidden.code).not.toBe(0)
            expect(hidden.text).toMatch(/failed to find service/)
          }).pipe((test) => within(test, "30 seconds"))
        ),
      testTimeout * 3
    )
  })
})
