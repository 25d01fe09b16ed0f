using Grpc.Core;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>What etcd's refusals mean, and what can be done about them.</summary>
internal static class EtcdRefusal
{
    public static string Explain(RpcException exception, EtcdOptions options) =>
        exception.StatusCode switch
        {
            StatusCode.InvalidArgument or StatusCode.Unauthenticated when options.Login is { } login =>
                $"etcd refused the login of '{login.User}' ({exception.Status.Detail}); check ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD",
            StatusCode.InvalidArgument => $"etcd wants a login ({exception.Status.Detail}); set ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD",
            StatusCode.PermissionDenied =>
                $"etcd does not let this worker do its work ({exception.Status.Detail}); its user needs read and write on the prefix 'v1/'",
            StatusCode.ResourceExhausted => $"etcd has no room ({exception.Status.Detail}); compact and defragment it, and clear its alarm",
            _ => $"etcd refused: {EtcdClient.Describe(exception)}",
        };
}
