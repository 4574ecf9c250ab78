// Made of the server's /openapi.json by `npm run types`.

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description A crossed threshold */
        Alert: {
            alertId: string;
            /** @description How it was told, and to whom; in lists. */
            deliveries: components["schemas"]["Delivery"][];
            held: components["schemas"]["Amount"];
            limit: components["schemas"]["Amount"];
            meter: string;
            month: string;
            nextPlan?: string | null;
            /** @description Why nobody is told: `superseded`, `pastMonth` or `monthAhead`; null where somebody is, as far as there was anybody. */
            notSent?: string | null;
            /**
             * Format: double
             * @description 100 x used / limit.
             */
            percent: number;
            plan: string;
            recordedAt: string;
            resetsAt: string;
            /** @description The alert of a higher threshold that is sent in its stead. */
            supersededBy?: string | null;
            /**
             * Format: int32
             * @description 80, 95 or 100.
             */
            threshold: number;
            used: components["schemas"]["Amount"];
            userId?: string | null;
        };
        /** @description Alerts, newest first */
        Alerts: {
            items: components["schemas"]["Alert"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        /** @description USD as exact decimal text, or whole runs, as the meter has it */
        Amount: components["schemas"]["Usd"] | number;
        /** @description A value per meter; absent is 0 */
        Amounts: {
            /** Format: int64 */
            aiRuns?: number | null;
            /** Format: int64 */
            apiRuns?: number | null;
            cost?: components["schemas"]["Usd"] | null;
        };
        /** @description Whether it fits; it promises nothing, a hold does */
        Answer: {
            /** @description The meters as they would stand. */
            after: components["schemas"]["Meters"];
            allowed: boolean;
            budget: components["schemas"]["Budget"];
            /** @description The first that fits. */
            choice?: string | null;
            choices: components["schemas"]["Way"][];
            failed: string[];
            /** @description In a refusal, for an end user. */
            message?: string | null;
            /** @description In a refusal, the first later plan in which it would fit now. */
            nextPlan?: string | null;
            /** @description `unlimited`, `within_limits`, `fallback`, `budget_exceeded` or `runs_exceeded`. */
            reason: string;
            upgradeRequired: boolean;
        };
        /** @description The audit log, newest first */
        Audit: {
            items: components["schemas"]["AuditEntry"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        /** @description Something that somebody did */
        AuditEntry: {
            /** @example plan.set */
            action: string;
            /** @description From where; null from this machine's own socket. */
            address?: string | null;
            after?: components["schemas"]["Metadata"] | null;
            before?: components["schemas"]["Metadata"] | null;
            /**
             * Format: int64
             * @description They count up from 1 without gaps.
             */
            number: number;
            recordedAt: string;
            requestId?: string | null;
            /**
             * @description To what: a key's id, a plan's name, a route.
             * @example premium
             */
            subject?: string | null;
            /** @description To whom; null when it is about no user, or one who was erased. */
            userId?: string | null;
            /**
             * Format: int64
             * @description The user's number, which stays.
             */
            userNumber?: number | null;
            /**
             * @description A key's id, or `environment` (`OUTLAY_ADMIN_KEY`), `socket` (the owner of the data folder), `open` (anybody on an open
             *     server), `configuration`, `token` (an end user) or `nobody`.
             * @example key_7Qm2ZkXv1rT9bLcE
             */
            who: string;
        };
        /** @description Means over a month */
        Averages: {
            costPerOperation?: components["schemas"]["Usd"] | null;
            costPerRun?: components["schemas"]["Usd"] | null;
            costPerUser?: components["schemas"]["Usd"] | null;
        };
        BatchResult: ({
            /** @description Its place in the batch, from 0. */
            index: number;
            /** @description The status that it would have had alone. */
            status: number;
        } & components["schemas"]["Recorded"]) | ({
            /** @description Its place in the batch, from 0. */
            index: number;
            /** @description The status that it would have had alone. */
            status: number;
        } & components["schemas"]["Problem"]);
        /** @description The month before: while the month runs, as far as the same day of it; else whole */
        Before: {
            /**
             * Format: int64
             * @description With an operation in that month, be it later.
             */
            activeUsers: number;
            month: string;
            /** @description The last day that the totals count. */
            throughDay: string;
            totals: components["schemas"]["Totals"];
        };
        /** @description A user's meters for one month */
        Budget: {
            meters: components["schemas"]["Meters"];
            /** @example 2025-10 */
            month: string;
            /** @description The next in tier order. */
            nextPlan?: string | null;
            plan: string;
            resetsAt: string;
            /** @description The worst of the meters. */
            state: components["schemas"]["State"];
            unlimited: boolean;
            upgradeUrl?: string | null;
            userId: string;
        };
        /** @description One of several ways to do the work, the best first */
        Choice: {
            estimate: components["schemas"]["Amounts"];
            name: string;
        };
        /** @description An operation as an event, as CloudEvents 1.0 has it; extension attributes are allowed, and not kept */
        CloudEvent: {
            data: components["schemas"]["EventData"];
            datacontenttype?: components["schemas"]["JsonType"] | null;
            /** @description The operation's id. */
            id: components["schemas"]["OperationId"];
            source: string;
            specversion: components["schemas"]["SpecVersion"];
            /** @description The user's id. */
            subject: components["schemas"]["UserId"];
            time?: components["schemas"]["Time"] | null;
            type: string;
        };
        CloudEvents: components["schemas"]["CloudEvent"][];
        Cost: components["schemas"]["Usd"] | number;
        CostBudget: {
            held: components["schemas"]["Usd"];
            /** @example Cost Budget */
            label: string;
            limit: components["schemas"]["Usd"] | null;
            /** @example Not in your plan */
            message: string | null;
            /**
             * Format: double
             * @description 100 x (used + held) / limit, to two decimals.
             */
            percent: number | null;
            remaining: components["schemas"]["Usd"] | null;
            state: components["schemas"]["State"];
            /** @example USD */
            unit: string;
            used: components["schemas"]["Usd"];
        };
        CostFigures: {
            held: components["schemas"]["Usd"];
            limit: components["schemas"]["Usd"] | null;
            /**
             * Format: double
             * @description 100 x (used + held) / limit, to two decimals.
             */
            percent: number | null;
            remaining: components["schemas"]["Usd"] | null;
            state: components["schemas"]["State"];
            used: components["schemas"]["Usd"];
        };
        CostLimit: components["schemas"]["Usd"] | number;
        /** Format: int64 */
        Count: number;
        /** @description A day */
        Day: {
            /** Format: int64 */
            aiRuns: number;
            /** Format: int64 */
            apiRuns: number;
            /** Format: int64 */
            billableRuns: number;
            cost: components["schemas"]["Usd"];
            /** @example 2025-10-13 */
            day: string;
            /** Format: int64 */
            operations: number;
        };
        /** @description Deliveries, newest first */
        Deliveries: {
            items: components["schemas"]["Delivery"][];
            /** @description Null at the end. */
            nextCursor?: string | null;
        };
        /** @description One message to one receiver */
        Delivery: {
            /** @description `email` or `webhook`. */
            channel: string;
            createdAt: string;
            deliveryId: string;
            endedAt?: string | null;
            /** @description What it tells of; in lists of deliveries. */
            event?: string | null;
            /** @description The message's id, the same on every try and for every receiver; in lists of deliveries. */
            eventId?: string | null;
            nextTryAt?: string | null;
            /**
             * @description `pending`, `delivered`, `failed` (tried no more by itself; it can be sent again) or `cancelled` (its webhook was taken
             *     away, its user erased or without an address).
             */
            state: string;
            /** @description Of a mail: `user` or `operator`. */
            to?: string | null;
            /** @description The oldest first. */
            tries: components["schemas"]["Try"][];
            /** @description In lists of deliveries. */
            userId?: string | null;
            /** @description Null once the webhook was taken away. */
            webhookId?: string | null;
        };
        /** @description A refused intent */
        Denial: {
            choices?: components["schemas"]["Choice"][] | null;
            denialId: string;
            estimate?: components["schemas"]["Amounts"] | null;
            failed: string[];
            feature: string;
            /** @description Those that it met. */
            limits: components["schemas"]["Limits"];
            metadata: components["schemas"]["Metadata"];
            nextPlan?: string | null;
            reason: string;
            recordedAt: string;
            sessionId?: string | null;
            /** @description `open`, `afford` or `application`. */
            source: string;
            /**
             * Format: int64
             * @description How often the same session was refused within a minute.
             */
            times: number;
            userId?: string | null;
        };
        /** @description Denials, newest first */
        Denials: {
            items: components["schemas"]["Denial"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        Description: string;
        Email: string;
        /** @description What is asked for, per meter; absent is 0 */
        Estimate: {
            aiRuns?: components["schemas"]["Runs"] | null;
            apiRuns?: components["schemas"]["Runs"] | null;
            cost?: components["schemas"]["Cost"] | null;
        };
        /** @description An operation without what stands in the envelope of its event */
        EventData: {
            /** @description What the call cost. Prices for `tokens` and `units` come with a later version. */
            cost: components["schemas"]["Cost"];
            durationMs?: components["schemas"]["Count"] | null;
            feature: components["schemas"]["Name"];
            finishSession?: components["schemas"]["Finish"] | null;
            /** @description Whether it counts as one run against the plan. */
            isBillableRun?: boolean | null;
            metadata?: components["schemas"]["Metadata"] | null;
            model?: components["schemas"]["Name"] | null;
            provider?: components["schemas"]["Name"] | null;
            sessionId?: components["schemas"]["SessionId"] | null;
            stepLabel?: components["schemas"]["Label"] | null;
            stepNumber?: components["schemas"]["Count"] | null;
            tokens?: components["schemas"]["SentTokens"] | null;
            units?: components["schemas"]["Units"] | null;
            usageType?: components["schemas"]["UsageType"] | null;
        };
        /** @enum {string} */
        EventName: "budget.threshold_crossed" | "denial.recorded" | "session.abandoned" | "limit.changed";
        EventNames: components["schemas"]["EventName"][];
        /** @description How a hold goes on */
        ExtendSession: {
            estimate?: components["schemas"]["Estimate"] | null;
            /** @description From now on, 1 to 86400. */
            holdSeconds: components["schemas"]["HoldSeconds"];
        };
        /** @description Sums over the sessions of one feature */
        FeatureSessions: {
            cost: components["schemas"]["Usd"];
            costPerSession?: components["schemas"]["Usd"] | null;
            /** @description By status: `inProgress`, `completed`, `failed`, `abandoned`. */
            count: {
                [key: string]: number;
            };
            feature: string;
            /**
             * Format: int64
             * @description Of those that ended.
             */
            meanDurationMs?: number | null;
            /** Format: int64 */
            sessions: number;
            /** Format: int64 */
            steps: number;
        };
        /** @description Something that is wrong in the store */
        Finding: {
            /** @example month 2025-10 of user 3 */
            place: string;
            problem: string;
        };
        /**
         * @description How a session is finished
         * @enum {string}
         */
        Finish: "completed" | "failed";
        /** @description How a session ends */
        FinishSession: {
            error?: components["schemas"]["Label"] | null;
            status: components["schemas"]["Finish"];
        };
        /** @description Where a user's meters will stand at the end of the running month */
        Forecast: {
            asOf: string;
            meters: components["schemas"]["MeterForecasts"];
            /** @example 2025-10 */
            month: string;
            userId: string;
        };
        /** @description A user's months, the oldest first, gaps as zeros */
        History: {
            months: components["schemas"]["HistoryMonth"][];
            userId: string;
        };
        /** @description A month of a history */
        HistoryMonth: {
            /** Format: int64 */
            aiRuns: number;
            /** Format: int64 */
            apiRuns: number;
            /** Format: int64 */
            billableRuns: number;
            /** @description Shown to user tokens with `reads` of `usage` only. */
            byFeature?: components["schemas"]["Sums"][] | null;
            /** @description Not shown to user tokens. */
            byModel?: components["schemas"]["Sums"][] | null;
            /** @description Not shown to user tokens. */
            byProvider?: components["schemas"]["Sums"][] | null;
            cost: components["schemas"]["Usd"];
            costPerOperation?: components["schemas"]["Usd"] | null;
            costPerRun?: components["schemas"]["Usd"] | null;
            /** @description Up to today, gaps as zeros. */
            days: components["schemas"]["Day"][];
            month: string;
            /** Format: int64 */
            operations: number;
        };
        /** @description A hold's amounts: what is left of it is `held` while the session is in progress */
        Hold: {
            /** @description What steps have drawn of it. */
            drawn: components["schemas"]["Amounts"];
            /** @description As `extend` last set it. */
            total: components["schemas"]["Amounts"];
        };
        /** Format: int64 */
        HoldSeconds: number;
        JsonType: string;
        /** @description A key */
        Key: {
            createdAt: string;
            description: string;
            expiresAt?: string | null;
            id: string;
            /** @description The key itself; only in the answer that made it. */
            key?: string | null;
            /** @description What it ends with. */
            last4: string;
            /** @description What the key begins with. */
            prefix: string;
            revokedAt?: string | null;
            role: string;
        };
        /** @description All keys */
        Keys: {
            items: components["schemas"]["Key"][];
            nextCursor?: string | null;
        };
        Label: string;
        /** @description A limit per meter: null is unlimited, 0 allows nothing */
        Limits: {
            /** Format: int64 */
            aiRuns?: number | null;
            /** Format: int64 */
            apiRuns?: number | null;
            cost?: components["schemas"]["Usd"] | null;
        };
        /** @description Your own JSON object, 8 KiB at most. */
        Metadata: Record<string, unknown>;
        /** @description The meters, without words */
        MeterFigures: {
            aiRuns: components["schemas"]["RunsFigures"];
            apiRuns: components["schemas"]["RunsFigures"];
            cost: components["schemas"]["CostFigures"];
        };
        /** @description Where one meter will stand; all but the message is null while there is too little past */
        MeterForecast: {
            /**
             * Format: int32
             * @description From today to that day; 0 when the limit is reached already.
             */
            daysLeft: number | null;
            /** Format: double */
            high: number | null;
            /**
             * @description The day on which the limit will be reached, where that is likely this month.
             * @example 2025-10-24
             */
            hitsLimitOn: string | null;
            /**
             * Format: double
             * @description The month's end is between this and `high` four times out of five.
             */
            low: number | null;
            /**
             * @description The same as a sentence.
             * @example You will reach your AI operations limit around 24 October (20 to 29 October)
             */
            message: string;
            /**
             * Format: double
             * @description At the month's end, as likely below as above: USD to the cent, of less than one to three digits, from 100 on whole
             *     ones; or whole runs.
             */
            projected: number | null;
            /**
             * @description The first and the last of the days between which that day is four times out of five; the last is the month's last day
             *     where the limit may also not be reached.
             */
            range: string[] | null;
        };
        /** @description Forecasts of each meter */
        MeterForecasts: {
            aiRuns: components["schemas"]["MeterForecast"];
            apiRuns: components["schemas"]["MeterForecast"];
            cost: components["schemas"]["MeterForecast"];
        };
        /** @description The meters */
        Meters: {
            aiRuns: components["schemas"]["RunsBudget"];
            apiRuns: components["schemas"]["RunsBudget"];
            cost: components["schemas"]["CostBudget"];
        };
        Name: string;
        /** @description A denial that the application made */
        NewDenial: {
            estimate: components["schemas"]["Estimate"];
            feature: components["schemas"]["Name"];
            metadata?: components["schemas"]["Metadata"] | null;
            reason: components["schemas"]["Label"];
            sessionId?: components["schemas"]["SessionId"] | null;
        };
        /** @description A key to be made */
        NewKey: {
            description?: components["schemas"]["Description"] | null;
            expiresAt?: components["schemas"]["Time"] | null;
            role: components["schemas"]["Role"];
        };
        /** @description An operation to be recorded */
        NewOperation: {
            /** @description What the call cost. Prices for `tokens` and `units` come with a later version. */
            cost: components["schemas"]["Cost"];
            durationMs?: components["schemas"]["Count"] | null;
            feature: components["schemas"]["Name"];
            finishSession?: components["schemas"]["Finish"] | null;
            /** @description Whether it counts as one run against the plan. */
            isBillableRun?: boolean | null;
            metadata?: components["schemas"]["Metadata"] | null;
            model?: components["schemas"]["Name"] | null;
            operationId?: components["schemas"]["OperationId"] | null;
            provider?: components["schemas"]["Name"] | null;
            sessionId?: components["schemas"]["SessionId"] | null;
            stepLabel?: components["schemas"]["Label"] | null;
            stepNumber?: components["schemas"]["Count"] | null;
            timestamp?: components["schemas"]["Time"] | null;
            tokens?: components["schemas"]["SentTokens"] | null;
            units?: components["schemas"]["Units"] | null;
            usageType?: components["schemas"]["UsageType"] | null;
            userId: components["schemas"]["UserId"];
        };
        /** @description A session to be opened; exactly one of `estimate` and `choices` */
        NewSession: {
            choices?: components["schemas"]["SentChoices"] | null;
            estimate?: components["schemas"]["Estimate"] | null;
            feature: components["schemas"]["Name"];
            holdSeconds?: components["schemas"]["HoldSeconds"] | null;
            metadata?: components["schemas"]["Metadata"] | null;
            sessionId?: components["schemas"]["SessionId"] | null;
        };
        /** @description A token to be made */
        NewToken: {
            /** @description What it reads besides. */
            reads?: components["schemas"]["Readable"][] | null;
            ttlSeconds?: components["schemas"]["TtlSeconds"] | null;
        };
        /** @description A webhook to be made */
        NewWebhook: {
            description?: components["schemas"]["Description"] | null;
            events?: components["schemas"]["EventNames"] | null;
            /**
             * @description Where messages are posted: https, on port 443 or 8443, at a public address; the configuration makes exceptions.
             * @example https://app.example.org/hooks/outlay
             */
            url: string;
        };
        /** @description An open session */
        OpenedSession: {
            budget: components["schemas"]["Budget"];
            choice?: string | null;
            held: components["schemas"]["Amounts"];
            holdExpiresAt?: string | null;
            /** @description Why it fits; null when it was open already. */
            reason?: string | null;
            sessionId: string;
            /** @description `in-progress`, or where it stands when it was opened before. */
            status: string;
        };
        /** @description A recorded operation in a list */
        Operation: {
            /** @description Below zero on a reversal only. */
            cost: components["schemas"]["Usd"];
            /** Format: int64 */
            durationMs?: number | null;
            feature: string;
            finishSession?: components["schemas"]["Finish"] | null;
            isBillableRun: boolean;
            metadata?: components["schemas"]["Metadata"] | null;
            model?: string | null;
            month: string;
            operationId: string;
            /** @description Not shown to user tokens, like `model` and `metadata`. */
            provider?: string | null;
            /** @description Of a reversal: why. */
            reason?: string | null;
            recordedAt: string;
            recordedIn: string;
            reversedBy?: string | null;
            reverses?: string | null;
            sessionId?: string | null;
            stepLabel?: string | null;
            /** Format: int64 */
            stepNumber?: number | null;
            timestamp: string;
            tokens?: components["schemas"]["Tokens"] | null;
            /** @description True where retention has emptied it of `tokens`, `units`, `stepLabel`, `durationMs`, `metadata` and `reason`; else absent. */
            trimmed?: boolean | null;
            units?: {
                [key: string]: number;
            } | null;
            usageType: components["schemas"]["UsageType"];
            userId: string;
        };
        OperationId: string;
        /** @description Operations, newest first in order of recording */
        Operations: {
            items: components["schemas"]["Operation"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        /** @description An event of everybody's stream */
        OperatorEvent: {
            /** @description An overview without its lists, an `Alert` or a `Denial`, as JSON. */
            data: string;
            event: components["schemas"]["OperatorEventName"];
        };
        /**
         * @description What an event of everybody's stream tells
         * @enum {string}
         */
        OperatorEventName: "overview" | "alert" | "denial";
        /** @description A month at a glance, of one snapshot */
        Overview: {
            /**
             * Format: int64
             * @description With an operation in the month: those that `GET /v1/users?active=true` lists.
             */
            activeUsers: number;
            asOf: string;
            averages: components["schemas"]["Averages"];
            before?: components["schemas"]["Before"] | null;
            days: components["schemas"]["Day"][];
            /**
             * Format: int64
             * @description Erased since, with an operation in the month: it is in the totals and averages, and they are in no list.
             */
            erasedUsers: number;
            /** @description Now, over all users. */
            held: components["schemas"]["Amounts"];
            month: string;
            /** @description Active users by state, each of them as many as `GET /v1/users?active=true&state=` lists. */
            states: {
                [key: string]: number;
            };
            topFeatures: components["schemas"]["Sums"][];
            topModels: components["schemas"]["Sums"][];
            topProviders: components["schemas"]["Sums"][];
            topUsers: components["schemas"]["UserItem"][];
            totals: components["schemas"]["Totals"];
        };
        /** @description Limits of a user's own: an absent meter follows the plan, null is unlimited, 0 allows nothing */
        OwnLimits: {
            aiRuns?: components["schemas"]["RunsLimit"] | null;
            apiRuns?: components["schemas"]["RunsLimit"] | null;
            cost?: components["schemas"]["CostLimit"] | null;
        };
        /** @description A plan */
        Plan: {
            /** @description At what percentages of a limit alerts are raised, as the configuration says. */
            alertThresholds: number[];
            default: boolean;
            limits: components["schemas"]["Limits"];
            name: string;
            /** Format: int32 */
            tier: number;
        };
        /** @description A limit for each meter: null is unlimited, 0 allows nothing */
        PlanLimits: {
            aiRuns: components["schemas"]["RunsLimit"] | null;
            apiRuns: components["schemas"]["RunsLimit"] | null;
            cost: components["schemas"]["CostLimit"] | null;
        };
        /** @description Plans in tier order, all in one page */
        PlanList: {
            items: components["schemas"]["Plan"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        /** @description A plan to be set; each meter must be named, null is unlimited */
        PlanSettings: {
            limits: components["schemas"]["PlanLimits"];
            tier?: components["schemas"]["Tier"] | null;
        };
        Posted: components["schemas"]["NewOperation"] | components["schemas"]["NewOperation"][];
        /** @description An error, as RFC 9457 has it */
        Problem: {
            /** @description What happened this time. */
            detail: string;
            /** @description The fields that are wrong, if any are. */
            errors?: components["schemas"]["WrongField"][] | null;
            /** @description Finds the request again in the server's log. */
            requestId: string;
            /**
             * Format: int32
             * @description The status that it was answered with.
             */
            status: number;
            /** @description What it is, the same each time. */
            title: string;
            /**
             * @description Which kind it is: an address under `/problems/` with a page that explains it.
             * @example /problems/does-not-fit
             */
            type: string;
        };
        /** @description To 12 decimals; a string that holds the same is read too. */
        Quantity: number | string;
        /** @description A question whether something fits; exactly one of `estimate` and `choices` */
        Question: {
            /** @description Keeps a denial when it is refused. */
            audit?: boolean | null;
            choices?: components["schemas"]["SentChoices"] | null;
            estimate?: components["schemas"]["Estimate"] | null;
            feature?: components["schemas"]["Name"] | null;
        };
        /** @enum {string} */
        Readable: "sessions" | "usage";
        /** @description What `/readyz` says. */
        Ready: {
            /** @description Whether a forward jump of the server's clock is not believed yet: then holds expire later. */
            clockJump?: boolean;
            /** @description What an acknowledgement promises. */
            promise: string;
            /** @description Whether space runs out: then intents are refused. */
            spaceShort?: boolean;
            /** @description `ok`. */
            status: string;
        };
        /** @description A recorded operation */
        Recorded: {
            budget?: components["schemas"]["Budget"] | null;
            cost: components["schemas"]["Usd"];
            /** @description Whether it had been recorded before; then these are the first one's facts. */
            duplicate: boolean;
            month: string;
            operationId: string;
            /** @description `SessionUsage+UserDoc`, `AIUsage+UserDoc` or `ApiUsage+UserDoc`. */
            recordedIn: string;
            /** @description Of a reversal, what it takes back. */
            reverses?: string | null;
            success: boolean;
        };
        /** @description What became of one operation, or of each of a batch */
        RecordedAll: components["schemas"]["Recorded"] | components["schemas"]["Results"];
        /** @description Which delivery is sent again; all that failed when none is named */
        Redelivery: {
            deliveryId?: string | null;
        };
        /** @description An intent that does not fit, with what would help */
        Refused: {
            budget: components["schemas"]["Budget"];
            choices: components["schemas"]["Way"][];
            /** @description For an end user. */
            detail: string;
            failed: string[];
            nextPlan?: string | null;
            /** @description `budget_exceeded` or `runs_exceeded`. */
            reason: string;
            requestId: string;
            resetsAt: string;
            sessionId?: string | null;
            /** Format: int32 */
            status: number;
            title: string;
            /** @example /problems/does-not-fit */
            type: string;
            upgradeRequired: boolean;
        };
        /** @description What became of each item of a batch, in its order: the single answer or a problem, with `index` and `status` */
        Results: {
            results: components["schemas"]["BatchResult"][];
        };
        /** @description A reversal to be recorded */
        Reversal: {
            operationId?: components["schemas"]["OperationId"] | null;
            reason?: components["schemas"]["Label"] | null;
        };
        /** @enum {string} */
        Role: "viewer" | "app" | "admin";
        /** Format: int64 */
        Runs: number;
        RunsBudget: {
            /** Format: int64 */
            held: number;
            /** @example AI Operations */
            label: string;
            /**
             * Format: int64
             * @description Null is unlimited.
             */
            limit: number | null;
            /** @example Only 3 AI operations left */
            message: string | null;
            /**
             * Format: double
             * @description 100 x (used + held) / limit, to two decimals.
             */
            percent: number | null;
            /** Format: int64 */
            remaining: number | null;
            state: components["schemas"]["State"];
            /** @example runs */
            unit: string;
            /** Format: int64 */
            used: number;
        };
        RunsFigures: {
            /** Format: int64 */
            held: number;
            /**
             * Format: int64
             * @description Null is unlimited.
             */
            limit: number | null;
            /**
             * Format: double
             * @description 100 x (used + held) / limit, to two decimals.
             */
            percent: number | null;
            /** Format: int64 */
            remaining: number | null;
            state: components["schemas"]["State"];
            /** Format: int64 */
            used: number;
        };
        /** Format: int64 */
        RunsLimit: number;
        /** @description What is being sent */
        SentAgain: {
            /**
             * Format: int64
             * @description How many deliveries.
             */
            deliveries: number;
        };
        /** @description One of several ways to do the work, the best first */
        SentChoice: {
            estimate: components["schemas"]["Estimate"];
            /** @description Another one for each. */
            name: components["schemas"]["Name"];
        };
        SentChoices: components["schemas"]["SentChoice"][];
        /** @description Tokens as the provider reported them: `input` includes cached and cache-write ones, `output` includes reasoning */
        SentTokens: {
            cachedInput?: components["schemas"]["Count"] | null;
            cacheWrite?: components["schemas"]["Count"] | null;
            input?: components["schemas"]["Count"] | null;
            output?: components["schemas"]["Count"] | null;
            reasoning?: components["schemas"]["Count"] | null;
        };
        /** @description A session */
        Session: {
            budget?: components["schemas"]["Budget"] | null;
            /** @description Whether a step took a meter over its limit. */
            budgetExceeded: boolean;
            choice?: string | null;
            choices?: components["schemas"]["Choice"][] | null;
            completedAt?: string | null;
            createdAt: string;
            error?: string | null;
            estimate?: components["schemas"]["Amounts"] | null;
            feature: string;
            held: components["schemas"]["Amounts"];
            hold?: components["schemas"]["Hold"] | null;
            holdExpiresAt?: string | null;
            lastUpdatedAt: string;
            metadata?: components["schemas"]["Metadata"] | null;
            /** @description For `stepsCursor`. */
            nextStepsCursor?: string | null;
            overdraft?: components["schemas"]["Amounts"] | null;
            sessionId: string;
            /** @description `in-progress`, `completed`, `failed` or `abandoned`. */
            status: string;
            /** Format: int64 */
            stepCount: number;
            /** @description Of one session, not in lists; 1000 at most, in order of recording. */
            steps?: components["schemas"]["Step"][] | null;
            totalCost: components["schemas"]["Usd"];
            /** Format: int64 */
            totalRuns: number;
            userId?: string | null;
        };
        SessionId: string;
        /** @description Sessions, newest first */
        Sessions: {
            items: components["schemas"]["Session"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        /** @description Sessions by feature */
        SessionStats: {
            /** Format: int64 */
            days: number;
            features: components["schemas"]["FeatureSessions"][];
            since: string;
        };
        /**
         * @description The version of CloudEvents
         * @enum {string}
         */
        SpecVersion: "1.0";
        /**
         * @description How near a meter is to its limit: from 80, 95 and 100 percent
         * @enum {string}
         */
        State: "ok" | "warning" | "critical" | "reached";
        /** @description A step of a session */
        Step: {
            cost: components["schemas"]["Usd"];
            /** Format: int64 */
            durationMs?: number | null;
            feature: string;
            isBillableRun: boolean;
            metadata?: components["schemas"]["Metadata"] | null;
            model?: string | null;
            operationId: string;
            provider?: string | null;
            /** @description The operation that took this step back; its cost is then not in the session's total. Reversals are no steps. */
            reversedBy?: string | null;
            stepLabel?: string | null;
            /** Format: int64 */
            stepNumber?: number | null;
            timestamp: string;
            /** @description True where retention has emptied it of `stepLabel`, `durationMs` and `metadata`; else absent. */
            trimmed?: boolean | null;
            usageType: components["schemas"]["UsageType"];
        };
        /** @description Sums over operations */
        Sums: {
            /** Format: int64 */
            billableRuns: number;
            cost: components["schemas"]["Usd"];
            costPerOperation?: components["schemas"]["Usd"] | null;
            costPerRun?: components["schemas"]["Usd"] | null;
            /**
             * Format: int64
             * @description In the totals of an overview.
             */
            inputTokens?: number | null;
            /** @description Of a breakdown: of what; null for operations that name none. */
            name?: string | null;
            /** Format: int64 */
            operations: number;
            /**
             * Format: int64
             * @description In the totals of an overview.
             */
            outputTokens?: number | null;
        };
        /** Format: int64 */
        Tier: number;
        /** Format: date-time */
        Time: string;
        /** @description A token */
        Token: {
            expiresAt: string;
            token: string;
        };
        /** @description Tokens as the provider reported them: `input` includes cached and cache-write ones, `output` includes reasoning */
        Tokens: {
            /** Format: int64 */
            cachedInput?: number | null;
            /** Format: int64 */
            cacheWrite?: number | null;
            /** Format: int64 */
            input?: number | null;
            /** Format: int64 */
            output?: number | null;
            /** Format: int64 */
            reasoning?: number | null;
        };
        /** @description Sums by usage type */
        Totals: {
            ai: components["schemas"]["Sums"];
            all: components["schemas"]["Sums"];
            api: components["schemas"]["Sums"];
        };
        /** @description A try to deliver */
        Try: {
            at: string;
            /** @description Why it failed; null when it did not. */
            problem?: string | null;
            /**
             * Format: int32
             * @description What the receiver answered: an HTTP status, or the code of an SMTP reply.
             */
            status?: number | null;
        };
        /** Format: int64 */
        TtlSeconds: number;
        Units: {
            [key: string]: components["schemas"]["Quantity"];
        };
        /**
         * @description Which runs meter a billable run counts on
         * @enum {string}
         */
        UsageType: "AIUsage" | "ApiUsage";
        /** @description USD, an exact decimal text like `0.00010785` */
        Usd: string;
        /** @description A user with one month */
        User: {
            email?: string | null;
            /** @description False for a user nobody has seen. */
            known: boolean;
            /** @description Those that hold. */
            limits: components["schemas"]["Limits"];
            /** Format: int64 */
            monthlyBillableRuns: number;
            /** Format: int64 */
            monthlyBillableRunsAI: number;
            /** Format: int64 */
            monthlyBillableRunsAPI: number;
            monthlyTotalCost: components["schemas"]["Usd"];
            monthlyUsageLastUpdated?: string | null;
            monthlyUsageMonth: string;
            /** @description Those of their own. */
            overrides: components["schemas"]["Limits"];
            plan: string;
            userId: string;
        };
        /** @description An event of a user's stream */
        UserEvent: {
            /** @description A `Budget` or an `Alert`, as JSON. */
            data: string;
            event: components["schemas"]["UserEventName"];
            /** @description For `Last-Event-ID`. */
            id?: string | null;
        };
        /**
         * @description What an event of a user's stream tells
         * @enum {string}
         */
        UserEventName: "budget" | "alert";
        UserId: string;
        /** @description A user in a list, with one month */
        UserItem: {
            /** Format: int64 */
            aiRuns: number;
            /** Format: int64 */
            apiRuns: number;
            cost: components["schemas"]["Usd"];
            createdAt: string;
            email?: string | null;
            lastSeenAt?: string | null;
            meters: components["schemas"]["MeterFigures"];
            month: string;
            /** Format: int64 */
            operations: number;
            /**
             * Format: double
             * @description The highest of the meters.
             */
            percent?: number | null;
            plan: string;
            state: components["schemas"]["State"];
            userId: string;
        };
        /** @description Users, sorted as asked */
        Users: {
            items: components["schemas"]["UserItem"][];
            /** @description Null at the end; a filtered page may be short and have one. */
            nextCursor?: string | null;
        };
        /** @description What is set of a user, all of it */
        UserSettings: {
            email?: components["schemas"]["Email"] | null;
            limits?: components["schemas"]["OwnLimits"] | null;
            plan?: components["schemas"]["Name"] | null;
        };
        /** @description The proof of every counter from the operations */
        Verified: {
            findings: components["schemas"]["Finding"][];
            ok: boolean;
        };
        /** @description Whether a choice fits */
        Way: {
            allowed: boolean;
            /** @description The meters that it does not fit into. */
            failed: string[];
            name: string;
        };
        /** @description A webhook */
        Webhook: {
            /** @description Whether it stands in the configuration, and is changed there. */
            configured: boolean;
            createdAt: string;
            description: string;
            events: string[];
            /** @description When it answered 410: it is told of nothing new until a test arrives. */
            goneAt?: string | null;
            id: string;
            /** @description `whsec_...`; only in the answer that made it. */
            secret?: string | null;
            url: string;
        };
        /** @description All webhooks */
        Webhooks: {
            items: components["schemas"]["Webhook"][];
            nextCursor?: string | null;
        };
        /** @description A field that is wrong */
        WrongField: {
            /** @description What it must be. */
            detail: string;
            /**
             * @description Where, as RFC 6901 has it.
             * @example /estimate/cost
             */
            pointer: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
