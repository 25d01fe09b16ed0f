using System.Diagnostics;
using System.Globalization;

namespace Dynamo.Vllm.Soak;

/// <summary>Starts everything, lets it run, and judges.</summary>
internal static class SoakRun
{
    private static readonly TimeSpan QuietLimit = TimeSpan.FromSeconds(20);

    public static async Task<int> RunAsync(SoakOptions options, CancellationToken cancellationToken)
    {
        await using var target = await SoakTarget.StartAsync(options);
        var tally = new SoakTally();
        var clients = Enumerable.Range(0, options.Clients).Select(number => new SoakClient(number, target, tally)).ToList();
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        stopping.CancelAfter(options.Length);
        var started = Stopwatch.GetTimestamp();
        var calling = Task.WhenAll(clients.Select(client => EndAllOnFaultAsync(client.RunAsync(stopping.Token), stopping)));
        var faults = EndAllOnFaultAsync(new FaultSource(target, tally, clients).RunAsync(stopping.Token), stopping);
        var samples = await SampleAsync(target, tally, started, stopping.Token);
        await Task.WhenAll(calling, faults); // bounded: each request has its limit
        await SettleAsync(target, tally);
        foreach (var client in clients)
        {
            await client.DisposeAsync();
        }

        return Judge(options, target, tally, samples);
    }

    /// <summary>A part of the soak that fails ends it at once, not after half an hour.</summary>
    private static async Task EndAllOnFaultAsync(Task part, CancellationTokenSource stopping)
    {
        try
        {
            await part;
        }
        catch
        {
            await stopping.CancelAsync();
            throw;
        }
    }

    private static async Task<List<ProcessSample>> SampleAsync(SoakTarget target, SoakTally tally, long started, CancellationToken stopping)
    {
        var samples = new List<ProcessSample>();
        using var timer = new PeriodicTimer(target.Options.SampleEvery);
        Console.WriteLine(ProcessSample.Header);
        try
        {
            while (await timer.WaitForNextTickAsync(stopping) && !target.Worker.Process.HasExited)
            {
                samples.Add(await ProcessSample.TakeAsync(target.Worker, Stopwatch.GetElapsedTime(started), tally));
                Console.WriteLine(samples[^1]);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The end of the soak.
        }

        return samples;
    }

    /// <summary>Nothing may be left of the requests, and discovery must name the worker once.</summary>
    private static async Task SettleAsync(SoakTarget target, SoakTally tally)
    {
        using var limit = new CancellationTokenSource(QuietLimit);
        while (true)
        {
            string state;
            try
            {
                var inflight = await target.Worker.MetricAsync("dynamo_component_inflight_requests", "\"generate\"");
                var running = await target.Worker.MetricAsync("vllm:num_requests_running");
                var records = (await target.FindAsync()).Count;
                if (inflight == 0 && running == 0 && records == 1)
                {
                    return;
                }

                state = $"{inflight} requests in flight, {running} running in the engine, {records} instance records";
            }
            catch (Exception exception) when (exception is HttpRequestException or InvalidOperationException or TaskCanceledException)
            {
                state = exception.Message;
            }

            try
            {
                await Task.Delay(100, limit.Token); // scraped, as an operator would
            }
            catch (OperationCanceledException)
            {
                tally.NoteProblem($"{QuietLimit.TotalSeconds} s after the last request: {state}");
                return;
            }
        }
    }

    private static int Judge(SoakOptions options, SoakTarget target, SoakTally tally, List<ProcessSample> samples)
    {
        if (target.Worker.Process.HasExited)
        {
            tally.NoteProblem("the worker has ended");
        }

        if (tally.Sent != tally.Answered)
        {
            tally.NoteProblem($"{tally.Sent} requests were sent and {tally.Answered} ended");
        }

        if (tally.RecoveryMax > TimeSpan.FromSeconds(5))
        {
            tally.NoteProblem($"{tally.RecoveryMax.TotalSeconds:F1} s from a started broker to the first request");
        }

        // Until its first collection the managed heap only grows, up to a
        // budget that depends on the processor's cache: no leak shows in that.
        var settled = samples.Where(sample => sample.Heap > 0).ToList();
        var counted = settled.Count >= 5 ? settled : samples;
        var early = counted.Take(Math.Max(1, counted.Count / 3)).ToList();
        var late = counted.TakeLast(3).ToList();
        if (late.Count < 3)
        {
            tally.NoteProblem("too few samples");
            return Report(options, target, tally, "");
        }

        var rss = (Early: Median(early, sample => sample.Rss), Late: Median(late, sample => sample.Rss));
        var descriptors = (Early: Median(early, sample => sample.Descriptors), Late: Median(late, sample => sample.Descriptors));
        if (rss.Late - rss.Early > options.RssGrowthMax)
        {
            tally.NoteProblem($"RSS grew by more than {options.RssGrowthMax} MiB");
        }

        if (descriptors.Late - descriptors.Early > options.DescriptorGrowthMax)
        {
            tally.NoteProblem($"descriptors grew by more than {options.DescriptorGrowthMax}");
        }

        return Report(
            options,
            target,
            tally,
            string.Create(
                CultureInfo.InvariantCulture,
                $"first third to end: RSS {rss.Early:F1} -> {rss.Late:F1} MiB (bound +{options.RssGrowthMax}), descriptors "
                    + $"{descriptors.Early} -> {descriptors.Late} (bound +{options.DescriptorGrowthMax})"
            )
        );
    }

    private static int Report(SoakOptions options, SoakTarget target, SoakTally tally, string growth)
    {
        Console.WriteLine(
            $"{options.Length.TotalMinutes:F1} min, discovery {options.Discovery}, requests {options.Requests}, {options.Clients} clients, "
                + $"a fault every {options.FaultEvery.TotalSeconds} s"
        );
        var outcomes = Enum.GetValues<Outcome>().Select(outcome => $"{outcome.ToString().ToLowerInvariant()} {tally.Count(outcome)}");
        Console.WriteLine($"sent {tally.Sent} = answered {tally.Answered}: {string.Join(", ", outcomes)}");
        var faults = tally.Faults.OrderBy(fault => fault.Key).Select(fault => $"{fault.Key} {fault.Value}");
        Console.WriteLine($"faults {tally.Faults.Values.Sum()}: {string.Join(", ", faults)}");
        Console.WriteLine(growth);
        if (options.Requests == "nats")
        {
            Console.WriteLine($"from a started broker to the first request: at most {tally.RecoveryMax.TotalSeconds:F2} s");
        }

        foreach (var problem in tally.Problems)
        {
            Console.WriteLine($"PROBLEM {problem}");
        }

        if (tally.Problems.Count > 0)
        {
            Console.WriteLine(target.Worker.Process.Tail);
        }

        return tally.Problems.Count == 0 ? 0 : 1;
    }

    private static double Median(List<ProcessSample> samples, Func<ProcessSample, double> value) =>
        samples.Select(value).Order().ElementAt(samples.Count / 2);
}
