namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Sends the requests at their times and collects what became of them.</summary>
internal sealed class BenchRun
{
    private readonly BenchOptions _options;
    private readonly BenchClient _client;
    private readonly RequestFactory _requests;
    private readonly int _first;
    private readonly TimeProvider _time;
    private int _succeeded;
    private int _failed;
    private int _open;

    /// <param name="options">Of the run.</param>
    /// <param name="client">Sends.</param>
    /// <param name="requests">What is sent.</param>
    /// <param name="first">Number of the first request.</param>
    /// <param name="time">Clock.</param>
    public BenchRun(BenchOptions options, BenchClient client, RequestFactory requests, int first, TimeProvider time)
    {
        _options = options;
        _client = client;
        _requests = requests;
        _first = first;
        _time = time;
    }

    public int Succeeded => Volatile.Read(ref _succeeded);

    public int Failed => Volatile.Read(ref _failed);

    public int Open => Volatile.Read(ref _open);

    /// <summary>Until the last one has ended, or all are abandoned.</summary>
    /// <param name="count">Requests.</param>
    /// <param name="rate">In a second.</param>
    /// <param name="cancellationToken">Abandons what runs, and sends no more.</param>
    /// <returns>What was sent, in the order of the sending.</returns>
    public async Task<IReadOnlyList<Attempt>> RunAsync(int count, double rate, CancellationToken cancellationToken)
    {
        var attempts = new Attempt?[count]; // each is written by its own task, and read once that has given its seat back
        var arrivals = ArrivalSchedule.Create(count, rate, _options.Seed);
        using var seats = new SemaphoreSlim(_options.ConnectionsMax);
        var began = _time.GetTimestamp();
        try
        {
            for (var number = 0; number < count; number++)
            {
                // Made ahead of its time, so that the making takes nothing from it.
                var request = _requests.Create(_first + number);
                var wait = TimeSpan.FromSeconds(arrivals[number]) - _time.GetElapsedTime(began);
                if (wait > TimeSpan.Zero)
                {
                    await Task.Delay(wait, _time, cancellationToken).ConfigureAwait(false);
                }

                await seats.WaitAsync(cancellationToken).ConfigureAwait(false);
                var late = _time.GetElapsedTime(began) - TimeSpan.FromSeconds(arrivals[number]);
                Interlocked.Increment(ref _open);
                _ = SendAsync(request, number, began, late > TimeSpan.Zero ? late : TimeSpan.Zero, attempts, seats, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // What runs ends by the same token.
        }

        for (var seat = 0; seat < _options.ConnectionsMax; seat++)
        {
            await seats.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        }

        return [.. attempts.OfType<Attempt>()];
    }

    /// <summary>Ends with its seat, for which the run waits.</summary>
    private async Task SendAsync(
        BenchRequest request,
        int number,
        long began,
        TimeSpan queueTime,
        Attempt?[] attempts,
        SemaphoreSlim seats,
        CancellationToken cancellationToken
    )
    {
        await Task.Yield();
        try
        {
            var attempt = await _client
                .SendAsync(request, $"{_options.RequestIdPrefix}{_first + number}", began, queueTime, cancellationToken)
                .ConfigureAwait(false);
            attempts[number] = attempt;
            Interlocked.Add(ref _succeeded, attempt.IsSuccess ? 1 : 0);
            Interlocked.Add(ref _failed, attempt.Failure is null ? 0 : 1);
        }
        catch (Exception exception)
        {
            // Nobody awaits this (style E3); a defect here must count as a failure, not vanish.
            attempts[number] = new Attempt { Failure = new Failure("defect of bench", exception.ToString()) };
            Interlocked.Increment(ref _failed);
        }
        finally
        {
            Interlocked.Decrement(ref _open);
            seats.Release();
        }
    }
}
