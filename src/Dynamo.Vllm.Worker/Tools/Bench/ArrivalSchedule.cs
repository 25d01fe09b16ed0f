namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>When each request is to be sent.</summary>
internal static class ArrivalSchedule
{
    /// <summary>A Poisson process, stretched so that all requests take just what their rate says: otherwise runs with different seeds
    /// would differ by a percent or two for that alone. As <c>vllm bench serve</c> does it.</summary>
    /// <param name="count">Requests.</param>
    /// <param name="rate">Requests a second; infinite: all at once.</param>
    /// <param name="seed">The same for the same run.</param>
    /// <returns>Seconds from the begin.</returns>
    public static double[] Create(int count, double rate, int seed)
    {
        var times = new double[count];
        if (double.IsPositiveInfinity(rate))
        {
            return times;
        }

        var random = new Random(seed);
        var now = 0.0;
        for (var i = 0; i < count; i++)
        {
            now -= Math.Log(1 - random.NextDouble()) / rate;
            times[i] = now;
        }

        var factor = now > 0 ? count / rate / now : 1;
        for (var i = 0; i < count; i++)
        {
            times[i] *= factor;
        }

        return times;
    }
}
