using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.Core;

namespace Dynamo.Vllm.UnitTests.Worker.GrpcRequests;

public sealed class GrpcStatusesTests
{
    [Fact]
    public void Each_error_has_the_code_that_says_who_can_mend_it()
    {
        Assert.Equal((StatusCode.InvalidArgument, "no"), Of(DynamoError.Http(400, "no"))); // and not the JSON that it travels in elsewhere
        Assert.Equal((StatusCode.InvalidArgument, "no"), Of(DynamoError.InvalidArgument("no")));
        Assert.Equal((StatusCode.NotFound, "no"), Of(DynamoError.Http(404, "no")));
        Assert.Equal((StatusCode.ResourceExhausted, "full"), Of(DynamoError.WorkerOverloaded("full")));
        Assert.Equal((StatusCode.Cancelled, "gone"), Of(DynamoError.Cancelled("gone")));
        Assert.Equal((StatusCode.DeadlineExceeded, "late"), Of(DynamoError.ConnectionTimeout("late")));
        Assert.Equal((StatusCode.Internal, "bug"), Of(DynamoError.Unknown("bug")));
        Assert.Equal((StatusCode.Unavailable, "leaving"), Of(DynamoError.EngineShutdown("leaving")));
        Assert.Equal((StatusCode.Internal, "dead"), Of(DynamoError.EngineShutdown("dead"), hasEngineDied: true));
    }

    private static (StatusCode, string) Of(DynamoError error, bool hasEngineDied = false)
    {
        var status = GrpcStatuses.Of(error, hasEngineDied);
        return (status.StatusCode, status.Detail);
    }
}
