using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Prefill and decode on real vLLM with NIXL: ours and official ones in pairs, clients that leave, killed workers.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class DisaggregationTests : IClassFixture<DisaggregatedFleet>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    /// <summary>
    /// So many that the answer is never over before the news of a client
    /// that left in its middle has come through the frontend to the worker.
    /// </summary>
    private const int LeaversTokens = 800;

    /// <summary>Members of a request of two blocks.</summary>
    private static readonly string Question =
        $"\"token_ids\":[{string.Join(',', Enumerable.Range(300, 70))}],\"stop_conditions\":{{\"max_tokens\":4}}";

    private readonly DisaggregatedFleet _fleet;

    public DisaggregationTests(DisaggregatedFleet fleet) => _fleet = fleet;

    // Two pairs at a time, but never two requests in one engine: a batch may round differently.
    [PeerFact]
    public Task Ours_with_ours_and_official_with_official_answer_as_one_aggregated_worker() =>
        Task.WhenAll(
            AssertSameAnswersAsync(_fleet.OurPrefill, _fleet.OurDecode, first: 0),
            AssertSameAnswersAsync(_fleet.OfficialPrefill, _fleet.OfficialDecode, first: 0)
        );

    [PeerFact]
    public Task Ours_with_official_on_either_side_answer_as_one_aggregated_worker() =>
        Task.WhenAll(
            AssertSameAnswersAsync(_fleet.OurPrefill, _fleet.OfficialDecode, first: 30),
            AssertSameAnswersAsync(_fleet.OfficialPrefill, _fleet.OurDecode, first: 30)
        );

    [PeerFact]
    public async Task Requests_to_either_role_are_answered_as_by_the_official_worker()
    {
        foreach (
            var (ours, official, isDecode) in ((ulong, ulong, bool)[])
                [(_fleet.OurPrefill, _fleet.OfficialPrefill, false), (_fleet.OurDecode, _fleet.OfficialDecode, true)]
        )
        {
            await using var ourWorker = await DirectWorker.ConnectAsync(_fleet.AddressOf(ours));
            await using var officialWorker = await DirectWorker.ConnectAsync(_fleet.AddressOf(official));
            var comparison = new AnswerComparison(ourWorker, officialWorker);
            await comparison.ExpectEqualAsync([.. DirectCatalogue.Equal, .. isDecode ? DirectCatalogue.EqualWhereDecoded : []]);
            await comparison.ExpectRefusedAsync(
                [.. DirectCatalogue.RefusedByBoth, .. isDecode ? DirectCatalogue.RefusedByBothWhereDecoded : []],
                answer => AnswerComparison.ClassOf(answer) == "InvalidRequest"
            );
            comparison.AssertNone();
        }

        // The blocks of what was prefilled for nobody come back with the lease, before the next test counts.
        await AssertIdleAsync(_fleet.Prefill, DisaggregatedFleet.Lease + TimeSpan.FromSeconds(20));
    }

    [PeerFact]
    public async Task Blocks_of_what_the_decode_worker_refuses_come_back_before_their_lease_ends()
    {
        using var official = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{_fleet.OfficialPrefillPort}") };
        var decode = _fleet.AddressOf(_fleet.OurDecode);
        foreach (
            var (prefill, http) in ((ulong, HttpClient)[])[(_fleet.OurPrefill, _fleet.Prefill.Http), (_fleet.OfficialPrefill, official)]
        )
        {
            var prefilled = (await DirectWorker.ItemsAsync(_fleet.AddressOf(prefill), $"{{{Question}}}")).Single();
            var result = new JsonObject { ["disaggregated_params"] = prefilled["data"]!["disaggregated_params"]!.DeepClone() };
            Assert.True(await UsageAsync(prefill, http) > 0);
            var items = await DirectWorker.ItemsAsync(
                decode,
                $"{{{Question},\"prefill_result\":{result.ToJsonString()},\"sampling_options\":{{\"temperature\":-1.0}}}}"
            );
            Assert.Equal("InvalidRequest", AnswerComparison.ClassOf(items.Single()));
            await Polling.UntilAsync(
                "the blocks are still held",
                DisaggregatedFleet.Lease / 2,
                async () => await UsageAsync(prefill, http) == 0,
                () => _fleet.Tails
            );
        }

        // An engine tells of its blocks with each step, so it is given one.
        async Task<double> UsageAsync(ulong prefill, HttpClient http)
        {
            var steps = MetricSamples.Sum(await http.GetStringAsync("/metrics"), "vllm:request_success_total");
            await DirectWorker.ItemsAsync(_fleet.AddressOf(prefill), """{"token_ids":[1],"_HEALTH_CHECK":true}""");
            var scrape = "";
            await Polling.UntilAsync(
                "the step is not counted",
                Limit,
                async () => MetricSamples.Sum(scrape = await http.GetStringAsync("/metrics"), "vllm:request_success_total") > steps
            );
            return MetricSamples.Sum(scrape, "vllm:kv_cache_usage_perc");
        }
    }

    [PeerFact]
    public async Task Prefill_workers_that_are_not_told_where_they_are_reached_find_what_the_official_one_finds()
    {
        var hosts = new List<string>();
        foreach (var prefill in (ulong[])[_fleet.OfficialPrefill, _fleet.OurPrefill])
        {
            var item = (await DirectWorker.ItemsAsync(_fleet.AddressOf(prefill), $"{{{Question}}}")).Single();
            hosts.Add(item["data"]!["disaggregated_params"]!["kv_transfer_params"]!["remote_host"]!.GetValue<string>());
        }

        Assert.Equal(hosts[0], hosts[1]);
        Assert.Equal(DisaggregatedFleet.FindsItsAddress, hosts[0] != "127.0.0.1");
    }

    [PeerFact]
    public async Task Five_hundred_requests_whose_clients_leave_anywhere_leave_nothing_behind()
    {
        var (handedOver, pulled, cancelled) = (await HandedOverAsync(), await PulledAsync(), await CancelledAsync());
        var ends = new ConcurrentQueue<ClientEnd>();
        var failures = new ConcurrentQueue<string>();
        var random = new Random(5);
        // Every other client leaves after a time, mostly a short one; the rest in the middle of its answer, however slow the machine is.
        // Few items, since a busy engine puts many tokens into one.
        var plans = Enumerable
            .Range(0, 500)
            .Select(i =>
                i % 2 == 0
                    ? (Delay: TimeSpan.FromMilliseconds(1 + (1000 * Math.Pow(random.NextDouble(), 2))), Tokens: int.MaxValue)
                    : (Delay: Limit, Tokens: random.Next(1, 15))
            )
            .ToArray();
        var twelve = new ParallelOptions { MaxDegreeOfParallelism = 12 };
        await Parallel.ForEachAsync(
            Enumerable.Range(0, plans.Length),
            twelve,
            async (i, _) =>
            {
                var prompt = $"{i} leave me alone {string.Join(' ', Enumerable.Repeat("word", i % 50))}";
                ends.Enqueue(await LeaveAsync(prompt, plans[i].Delay, plans[i].Tokens, failures));
            }
        );

        var counts = string.Join(", ", ends.CountBy(end => end));
        Assert.True(failures.IsEmpty, $"{counts}\n{string.Join('\n', failures.Take(5))}\n{_fleet.Tails}");
        Assert.True(ends.Count(end => end == ClientEnd.LeftBeforeTheFirstToken) >= 50, counts);
        Assert.True(ends.Count(end => end == ClientEnd.LeftWhileDecoding) >= 150, counts);

        // Idle, and with every block back, no later than the lease allows.
        await AssertIdleAsync(_fleet.Prefill, DisaggregatedFleet.Lease + TimeSpan.FromSeconds(20));
        await AssertIdleAsync(_fleet.Decode, TimeSpan.FromSeconds(20));
        // Also what was cancelled before its first token was decoded far enough to be pulled: nothing was left to the lease.
        // A caller that leaves between its hand-over and the count of it is a cancelled one, and pulled all the same.
        var (given, taken) = (await HandedOverAsync() - handedOver, await PulledAsync() - pulled);
        Assert.True(taken >= given, $"{given} were handed over, {taken} pulled");
        Assert.True(await CancelledAsync() - cancelled >= 200, counts);
        Assert.Equal(0, await _fleet.Decode.MetricAsync("vllm:nixl_num_failed_transfers_total"));
        Assert.False(_fleet.Prefill.Process.HasExited || _fleet.Decode.Process.HasExited, _fleet.Tails);
        Assert.Equal(_fleet.Aggregated[0], await _fleet.AnswerAsync(DisaggregatedFleet.Prompts[0], _fleet.OurDecode, _fleet.OurPrefill));
    }

    [PeerFact]
    public async Task Killed_workers_cost_no_client_its_answer_and_new_ones_take_over()
    {
        await _fleet.StopOfficialAsync();
        await ServesAsync("ours do not serve alone");
        using var stop = new CancellationTokenSource();
        var answers = new ConcurrentQueue<ClientAnswer>();
        var load = Task.WhenAll(Enumerable.Range(0, 6).Select(i => LoadAsync(i, answers, stop.Token)));

        var streams = await DecodingStreamsAsync("before the decode worker dies");
        _fleet.Decode.Process.Signal("KILL");
        var cut = await Task.WhenAll(streams).WaitAsync(Limit);
        Assert.All(cut, answer => Assert.True(answer.IsSuccess || answer.IsCleanError, answer.ToString()));
        Assert.Contains(cut, answer => answer.IsCleanError);
        await _fleet.ReplaceDecodeAsync();
        await ServesAsync("the service does not recover with a new decode worker");

        var failures = answers.Count(answer => !answer.IsSuccess);
        var unknown = answers.Count(answer => answer.IsModelUnknown); // while nobody decoded, nobody served the model
        streams = await DecodingStreamsAsync("before the prefill worker dies");
        _fleet.Prefill.Process.Signal("KILL");
        Assert.Contains(streams, stream => !stream.IsCompleted); // else the next but one line would show nothing
        await Polling.UntilAsync(
            "nobody noticed the loss of the prefill worker",
            Limit,
            () => Task.FromResult(answers.Count(answer => !answer.IsSuccess) > failures)
        );
        // What is decoded needs no prefill worker.
        Assert.All(await Task.WhenAll(streams).WaitAsync(Limit), answer => Assert.True(answer.IsSuccess, answer.ToString()));
        Assert.Equal(unknown, answers.Count(answer => answer.IsModelUnknown));
        await _fleet.ReplacePrefillAsync();
        await ServesAsync("the service does not recover with a new prefill worker");

        await stop.CancelAsync();
        await load.WaitAsync(Limit);
        Assert.DoesNotContain(answers, answer => !answer.IsSuccess && !answer.IsCleanError && !answer.IsModelUnknown);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(_fleet.Aggregated[i], await _fleet.AnswerAsync(DisaggregatedFleet.Prompts[i]));
        }

        await AssertIdleAsync(_fleet.Prefill, DisaggregatedFleet.Lease + TimeSpan.FromSeconds(20));
        await AssertIdleAsync(_fleet.Decode, TimeSpan.FromSeconds(20));
    }

    private Task ServesAsync(string problem) =>
        _fleet.Frontend.WaitAsync(problem, Limit, async () => (await SendAsync("is anybody there?", 2)).IsSuccess);

    /// <summary>Four answers of 900 tokens, some seconds each, that all have begun when this returns.</summary>
    private async Task<Task<ClientAnswer>[]> DecodingStreamsAsync(string when)
    {
        var begun = Enumerable
            .Range(0, 4)
            .Select(_ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously))
            .ToArray();
        var streams = begun.Select((first, i) => SendAsync($"{when} {i}", 900, first)).ToArray();
        await Task.WhenAll(begun.Select((first, i) => Task.WhenAny(first.Task, streams[i]))).WaitAsync(Limit);
        return streams;
    }

    /// <param name="prefill">One of the prefill workers.</param>
    /// <param name="decode">One of the decode workers.</param>
    /// <param name="first">Prompts that this decode worker has not seen: what it has cached it would not pull.</param>
    private async Task AssertSameAnswersAsync(ulong prefill, ulong decode, int first)
    {
        for (var i = first; i < first + 30; i++)
        {
            Assert.Equal(_fleet.Aggregated[i], await _fleet.AnswerAsync(DisaggregatedFleet.Prompts[i], decode, prefill));
        }
    }

    private Task<double> HandedOverAsync() => _fleet.Prefill.MetricAsync("dynamo_vllm_prefill_handovers_total");

    private Task<double> PulledAsync() => _fleet.Decode.MetricAsync("vllm:nixl_xfer_time_seconds_count");

    private Task<double> CancelledAsync() => _fleet.Decode.MetricAsync("dynamo_component_cancellation_total", "\"generate\"");

    /// <summary>Nothing runs, waits or is held: by the engine's own numbers and by ours.</summary>
    private async Task AssertIdleAsync(WorkerProcess worker, TimeSpan limit)
    {
        string[] families =
        [
            "vllm:num_requests_running",
            "vllm:num_requests_waiting",
            "vllm:kv_cache_usage_perc",
            "dynamo_component_inflight_requests",
            "dynamo_component_gpu_cache_usage_percent",
            "dynamo_vllm_prefill_handovers_pending",
        ];
        var scrape = "";
        using var waiting = new CancellationTokenSource(limit);
        try
        {
            do
            {
                await Task.Delay(200, waiting.Token); // scraped, as an operator would
                scrape = await worker.Http.GetStringAsync("/metrics", waiting.Token);
            } while (families.Any(family => MetricSamples.Sum(scrape, family) != 0));
        }
        catch (OperationCanceledException)
        {
            var numbers = families.Select(family => $"{family} {MetricSamples.Sum(scrape, family)}");
            Assert.Fail($"not idle: {string.Join(", ", numbers)}\n{_fleet.Tails}");
        }
    }

    /// <summary>A client that leaves after a time or after so many items, whatever comes first.</summary>
    private async Task<ClientEnd> LeaveAsync(string prompt, TimeSpan delay, int tokens, ConcurrentQueue<string> failures)
    {
        using var cancel = new CancellationTokenSource(delay);
        var items = 0;
        try
        {
            using var response = await _fleet.Frontend.PostAsync(
                "/v1/completions",
                Body(prompt, LeaversTokens),
                _fleet.OurDecode,
                _fleet.OurPrefill,
                cancel.Token
            );
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancel.Token));
            while (await reader.ReadLineAsync(cancel.Token) is { } line)
            {
                if (line.Contains("\"error\"", StringComparison.Ordinal) || !response.IsSuccessStatusCode)
                {
                    failures.Enqueue($"{prompt}, after {items} items: {response.StatusCode} {line}");
                    return ClientEnd.Failed;
                }

                items += line.StartsWith("data: {", StringComparison.Ordinal) ? 1 : 0;
                if (items >= tokens)
                {
                    return ClientEnd.LeftWhileDecoding; // disposing of the response closes the connection
                }
            }

            return ClientEnd.Stayed;
        }
        catch (OperationCanceledException)
        {
            return items > 0 ? ClientEnd.LeftWhileDecoding : ClientEnd.LeftBeforeTheFirstToken;
        }
    }

    private async Task LoadAsync(int client, ConcurrentQueue<ClientAnswer> answers, CancellationToken cancellationToken)
    {
        for (var i = 0; !cancellationToken.IsCancellationRequested; i++)
        {
            var answer = await SendAsync($"client {client} request {i}", 8);
            answers.Enqueue(answer);
            if (!answer.IsSuccess)
            {
                await Task.Delay(300, CancellationToken.None); // a client that was refused does not hammer
            }
        }
    }

    /// <param name="prompt">What the client says.</param>
    /// <param name="tokens">How many it asks for.</param>
    /// <param name="begun">Completed by the first line of the answer.</param>
    private async Task<ClientAnswer> SendAsync(string prompt, int tokens, TaskCompletionSource? begun = null)
    {
        try
        {
            using var response = await _fleet.Frontend.PostAsync("/v1/completions", Body(prompt, tokens));
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            var first = await reader.ReadLineAsync();
            begun?.TrySetResult();
            return new ClientAnswer(response.StatusCode, $"{first}\n{await reader.ReadToEndAsync()}", null);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            return new ClientAnswer(default, "", exception.Message); // no answer: what must not happen
        }
    }

    private static JsonObject Body(string prompt, int tokens) =>
        new()
        {
            ["model"] = "tiny",
            ["prompt"] = prompt,
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
            ["stream"] = true,
        };
}
