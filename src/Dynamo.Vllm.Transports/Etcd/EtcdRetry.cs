namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>Waits between tries: a thirtieth of the longest, doubled each time, with up to a fifth less so that workers spread.</summary>
internal static class EtcdRetry
{
    public static TimeSpan Wait(int failures, TimeSpan waitMax)
    {
        var wait = Math.Min(waitMax.TotalSeconds / 30 * Math.Pow(2, Math.Clamp(failures - 1, 0, 10)), waitMax.TotalSeconds);
        return TimeSpan.FromSeconds(wait * (1 - (Random.Shared.NextDouble() / 5)));
    }
}
