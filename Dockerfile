# The hub. Not built so far where it was written (no container engine there); the same steps run in .ci/run.
FROM node:24-bookworm-slim AS build
WORKDIR /hub
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /hub
COPY --from=build /hub/package.json ./
COPY --from=build /hub/bin ./bin
COPY --from=build /hub/dist ./dist
COPY --from=build /hub/schema ./schema
COPY --from=build /hub/node_modules ./node_modules
RUN mkdir -p /var/lib/anamnesis /var/lib/anamnesis-keys \
  && chown node:node /var/lib/anamnesis /var/lib/anamnesis-keys
USER node
VOLUME ["/var/lib/anamnesis", "/var/lib/anamnesis-keys"]
ENV ANAMNESIS_DATA_DIR=/var/lib/anamnesis
EXPOSE 8080 2575
# The process passes signals on and reaps what it starts.
ENTRYPOINT ["node", "bin/anamnesis.js"]
CMD ["serve"]
